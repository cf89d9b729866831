import { z } from 'zod';
import { applicationRecord, grantRecord, projectRecord } from '../model/access.ts';
import type { AccessGrant, Application, Project } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { userRecord } from '../model/access.ts';
import type { User } from '../model/access.ts';
import { identifierPattern } from '../model/identifiers.ts';
import { parseApplicationName } from '../model/names.ts';
import { hostRecord, moveRecord, volumeRecord } from '../model/records.ts';
import type { Host, Move, Volume } from '../model/records.ts';
import { keys } from './keys.ts';

/** What both the repository and a transaction can do: read a record. */
export interface Reader {
  get<Schema extends z.ZodType>(key: string, schema: Schema): Promise<z.output<Schema> | undefined>;
}

/** A name entry holds the identifier of the object that has the name. */
export const nameEntry = z.object({ id: z.string() });

async function resolve(reader: Reader, nameKey: (name: string) => string, word: string): Promise<string | undefined> {
  // No name looks like an identifier (checkName), so neither can stand in for the other.
  return identifierPattern.test(word) ? word : (await reader.get(nameKey(word), nameEntry))?.id;
}

/** Finds a volume by name or identifier. @throws not-found */
export async function findVolume(reader: Reader, word: string): Promise<Volume> {
  const id = await resolve(reader, keys.volumeName, word);
  const volume = id === undefined ? undefined : await reader.get(keys.volume(id), volumeRecord);
  if (volume === undefined) {
    throw new SupercargoError('not-found', `There is no volume "${word}".`, { hint: 'supercargo volume ls lists all volumes.' });
  }
  return volume;
}

/** Finds a host by name or identifier. @throws not-found */
export async function findHost(reader: Reader, word: string): Promise<Host> {
  const id = await resolve(reader, keys.hostName, word);
  const host = id === undefined ? undefined : await reader.get(keys.host(id), hostRecord);
  if (host === undefined) throw new SupercargoError('not-found', `There is no host "${word}".`, { hint: 'supercargo host ls lists all hosts.' });
  return host;
}

/** Finds a user by name or identifier. @throws not-found */
export async function findUser(reader: Reader, word: string): Promise<User> {
  const id = await resolve(reader, keys.userName, word);
  const user = id === undefined ? undefined : await reader.get(keys.user(id), userRecord);
  if (user === undefined) throw new SupercargoError('not-found', `There is no user "${word}".`, { hint: 'supercargo user ls lists all users.' });
  return user;
}

/** Finds a project by name or identifier. @throws not-found */
export async function findProject(reader: Reader, word: string): Promise<Project> {
  const id = await resolve(reader, keys.projectName, word);
  const project = id === undefined ? undefined : await reader.get(keys.project(id), projectRecord);
  if (project === undefined) {
    throw new SupercargoError('not-found', `There is no project "${word}".`, { hint: 'supercargo project ls lists all projects.' });
  }
  return project;
}

/** Finds an application by PROJECT/NAME or identifier. @throws invalid-name, not-found */
export async function findApplication(reader: Reader, word: string): Promise<Application> {
  const id = identifierPattern.test(word) ? word : await applicationByName(reader, word);
  const application = id === undefined ? undefined : await reader.get(keys.application(id), applicationRecord);
  if (application === undefined) {
    throw new SupercargoError('not-found', `There is no application "${word}".`, { hint: 'supercargo app ls lists all applications.' });
  }
  return application;
}

async function applicationByName(reader: Reader, word: string): Promise<string | undefined> {
  const { project, name } = parseApplicationName(word);
  const { id } = await findProject(reader, project);
  return (await reader.get(keys.applicationName(id, name), nameEntry))?.id;
}

/** @throws not-found */
export async function findGrant(reader: Reader, id: string): Promise<AccessGrant> {
  const grant = await reader.get(keys.grant(id), grantRecord);
  if (grant === undefined) throw new SupercargoError('not-found', `There is no grant ${id}.`, { hint: 'supercargo grant ls lists all grants.' });
  return grant;
}

/** What people call an application: PROJECT/NAME; the project's identifier if it is gone. */
export async function applicationTitle(reader: Reader, { project, name }: Application): Promise<string> {
  return `${(await reader.get(keys.project(project), projectRecord))?.name ?? project}/${name}`;
}

/** @throws not-found */
export async function findMove(reader: Reader, id: string): Promise<Move> {
  const move = await reader.get(keys.move(id), moveRecord);
  if (move === undefined) throw new SupercargoError('not-found', `There is no move ${id}.`, { hint: 'It may have ended long ago.' });
  return move;
}

/** The name of a host for messages; its identifier if the host is gone. */
export async function hostName(reader: Reader, id: string): Promise<string> {
  return (await reader.get(keys.host(id), hostRecord))?.name ?? id;
}
