import type { Command } from 'commander';
import { checkName } from '../model/names.ts';
import { withAgent, withApi } from './connection.ts';
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
    return withApi(this.runDirectory, work);
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

/** Parser of an argument that names an object. */
export function named(kind: string): (text: string) => string {
  return (text) => checkName(kind, text);
}

/** Parser of an argument that names one object or several. */
export function namedList(kind: string): (text: string, previous: string[] | undefined) => string[] {
  return (text, previous) => [...(previous ?? []), checkName(kind, text)];
}
