import { SupercargoError } from '../model/errors.ts';
import { parseSnapshotName } from '../model/names.ts';
import { parseSize } from '../model/size.ts';
import type { CreateOptions } from '../ports/volume-verbs.ts';

const labelPrefix = 'label.';
const knownOptions = `Known options: size (for example 10G), class, project, from (VOLUME or VOLUME@SNAPSHOT), ${labelPrefix}KEY.`;

/**
 * Translates the `-o key=value` options of a Create.
 * @throws invalid-option that names the option
 */
export function parseCreateOptions(options: Record<string, string>): Omit<CreateOptions, 'name'> {
  const result: Omit<CreateOptions, 'name'> = {};
  const labels: [string, string][] = [];
  for (const [option, value] of Object.entries(options)) {
    if (option === 'size') result.sizeBytes = parseSize('size', value);
    else if (option === 'class') result.class = notEmpty('class', value);
    else if (option === 'project') result.project = notEmpty('project', value);
    else if (option === 'from') result.from = parseSnapshotName(value);
    else if (option.startsWith(labelPrefix) && option.length > labelPrefix.length) labels.push([option.slice(labelPrefix.length), value]);
    else throw new SupercargoError('invalid-option', `There is no option ${JSON.stringify(option)}.`, { hint: knownOptions });
  }
  return labels.length === 0 ? result : { ...result, labels: Object.fromEntries(labels) };
}

function notEmpty(option: 'class' | 'project', value: string): string {
  if (value !== '') return value;
  throw new SupercargoError('invalid-option', `Option "${option}" is empty.`, { hint: `What there is: supercargo ${option} ls` });
}
