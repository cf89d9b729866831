import { SupercargoError } from './errors.ts';
import { identifierPattern } from './identifiers.ts';

const maximumNameLength = 128;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/**
 * Checks a name that a person or an orchestrator chose (volume, host, class). The same rule as Docker's own volume names
 * (so anonymous names of 64 hexadecimal digits pass), with an upper length. Names are never used as paths.
 * @throws invalid-name
 */
export function checkName(kind: string, name: unknown): string {
  if (typeof name !== 'string' || name.length === 0) {
    throw new SupercargoError('invalid-name', `The ${kind} name is empty.`, { hint: `Give the ${kind} a name.` });
  }
  if (name.length > maximumNameLength) {
    throw new SupercargoError('invalid-name', `The ${kind} name is ${name.length} characters long.`, {
      hint: `Use at most ${maximumNameLength} characters.`,
    });
  }
  if (!namePattern.test(name)) {
    throw new SupercargoError('invalid-name', `The ${kind} name ${JSON.stringify(name)} is not allowed.`, {
      hint: 'Use letters, digits, "_", "." and "-", and begin with a letter or a digit.',
    });
  }
  if (identifierPattern.test(name)) {
    throw new SupercargoError('invalid-name', `The ${kind} name ${JSON.stringify(name)} looks like an identifier of Supercargo.`, {
      hint: 'Choose another name.',
    });
  }
  return name;
}

/**
 * Takes apart what people call an application: PROJECT/NAME.
 * @throws invalid-name
 */
export function parseApplicationName(text: string): { project: string; name: string } {
  const [project, name, ...rest] = text.split('/');
  if (name === undefined || rest.length > 0) {
    throw new SupercargoError('invalid-name', `The application name ${JSON.stringify(text)} is not PROJECT/NAME.`, {
      hint: 'Write for example shop/web; what belongs to no other project is default/web.',
    });
  }
  return { project: checkName('project', project), name: checkName('application', name) };
}

/**
 * Takes apart how people write a snapshot: VOLUME@SNAPSHOT. Without a snapshot, the volume as it is now is meant.
 * @throws invalid-name
 */
export function parseSnapshotName(text: string): { volume: string; snapshot: string | null } {
  const [volume = '', snapshot, ...rest] = text.split('@');
  if (rest.length > 0) {
    throw new SupercargoError('invalid-name', `The snapshot name ${JSON.stringify(text)} is not VOLUME@SNAPSHOT.`, {
      hint: 'Write for example pgdata@nightly.',
    });
  }
  return { volume: checkReference('volume', volume), snapshot: snapshot === undefined ? null : checkReference('snapshot', snapshot) };
}

/** A name or an identifier. @throws invalid-name */
function checkReference(kind: string, text: string): string {
  return identifierPattern.test(text) ? text : checkName(kind, text);
}
