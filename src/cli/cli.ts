import { join } from 'node:path';
import type { Command } from 'commander';
import { SupercargoError } from '../model/errors.ts';
import { identifierPattern } from '../model/identifiers.ts';
import { checkName, parseApplicationName, parseSnapshotName } from '../model/names.ts';
import { connectToCluster, withAgent, withApi } from './connection.ts';
import type { Api, LocalApi } from './connection.ts';
import type { CliDependencies } from './dependencies.ts';
import { Output } from './output.ts';

const defaultRunDirectory = '/run/supercargo';
export const defaultStateDirectory = '/var/lib/supercargo';
export const defaultPluginSocket = '/run/docker/plugins/supercargo.sock';

/** What every command has at hand. */
export class Cli {
  readonly dependencies: CliDependencies;
  readonly output: Output;
  readonly argv: readonly string[];
  runDirectory: string;

  constructor(argv: readonly string[], dependencies: CliDependencies) {
    this.argv = argv;
    this.dependencies = dependencies;
    this.runDirectory = dependencies.environment['SUPERCARGO_RUN_DIRECTORY'] ?? defaultRunDirectory;
    this.output = new Output(dependencies.stdout, dependencies.stderr, dependencies.environment);
  }

  api<Result>(work: (api: Api) => Promise<Result>): Promise<Result> {
    return withApi(() => connectToCluster(this.runDirectory, () => this.dependencies.openLogin(this.loginDirectory)), work);
  }

  /** As the user who has logged in, also where a socket of this host would do. @throws unauthenticated if nobody has */
  asUser<Result>(work: (api: Api) => Promise<Result>): Promise<Result> {
    return withApi(async () => {
      const login = await this.dependencies.openLogin(this.loginDirectory);
      if (login !== undefined) return login;
      throw new SupercargoError('unauthenticated', 'You have not logged in here.', {
        hint: 'An administrator prints the command: supercargo user invite NAME',
      });
    }, work);
  }

  /** Where the login of whoever runs the command is kept. */
  get loginDirectory(): string {
    const { environment } = this.dependencies;
    return environment['SUPERCARGO_LOGIN_DIRECTORY'] ?? join(environment['HOME'] ?? '/', '.config', 'supercargo');
  }

  agent<Result>(work: (agent: LocalApi) => Promise<Result>): Promise<Result> {
    return withAgent(this.runDirectory, work);
  }
}

/** Adds one group of commands to the program. */
export type AddCommands = (program: Command, cli: Cli) => void;

/** Text that follows a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

/** Parser of an argument that gives an object its name. */
export function named(kind: string): (text: string) => string {
  return (text) => checkName(kind, text);
}

/** Parser of an argument that says which object is meant, by its name or its identifier. */
export function reference(kind: string): (text: string) => string {
  return (text) => (identifierPattern.test(text) ? text : checkName(kind, text));
}

/** As reference, for one object or several. */
export function references(kind: string): (text: string, previous: string[] | undefined) => string[] {
  return (text, previous) => [...(previous ?? []), reference(kind)(text)];
}

/** Parser of an argument that says which snapshot is meant: VOLUME@SNAPSHOT. */
export function snapshotReference(text: string): string {
  if (parseSnapshotName(text).snapshot !== null) return text;
  throw new SupercargoError('invalid-name', `${JSON.stringify(text)} names no snapshot.`, {
    hint: `Write VOLUME@SNAPSHOT; supercargo snapshot ls ${text} lists them.`,
  });
}

/** Parser of an argument VOLUME@SNAPSHOT or VOLUME. */
export function volumeOrSnapshot(text: string): string {
  parseSnapshotName(text);
  return text;
}

/** As snapshotReference, for one or several. */
export function snapshotReferences(text: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), snapshotReference(text)];
}

/** Parser of an argument that says which application is meant: PROJECT/NAME or its identifier. */
export function applicationReference(text: string): string {
  if (!identifierPattern.test(text)) parseApplicationName(text);
  return text;
}

/** Parser of an argument that is the identifier of a grant. */
export function grantIdentifier(text: string): string {
  if (identifierPattern.test(text)) return text;
  throw new SupercargoError('invalid-request', `${JSON.stringify(text)} is not a grant.`, {
    hint: 'Copy its identifier (grt_…) from supercargo grant ls.',
  });
}

/** Parser of an argument that is the identifier of a snapshot. */
export function snapshotIdentifier(text: string): string {
  if (identifierPattern.test(text)) return text;
  throw new SupercargoError('invalid-request', `${JSON.stringify(text)} is not a snapshot.`, {
    hint: 'Copy its identifier (snp_…) from supercargo volume inspect NAME.',
  });
}

/**
 * Parser of an option or argument key=value, which may be given several times.
 * @param what as the user knows it, for example `Option "--label"`
 */
export function keyValues(what: string): (text: string, previous: Record<string, string> | undefined) => Record<string, string> {
  return (text, previous) => {
    const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
    if (key === undefined || value === undefined) {
      throw new SupercargoError('invalid-option', `${what} is not key=value: ${JSON.stringify(text)}.`, { hint: 'Write for example zone=a.' });
    }
    return { ...previous, [key]: value };
  };
}

/** Labels for people: "zone=a, rack=7". */
export function describeLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}
