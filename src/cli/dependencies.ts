import type { Readable } from 'node:stream';
import type { Transport } from '../protocol/transport.ts';
import type { OutputStream } from './output.ts';

export type Role = 'name-server' | 'agent';
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/** What `supercargo up` was asked for. Sizes in bytes. What is undefined is the composition root's to choose. */
export interface UpOptions {
  stateDirectory: string;
  runDirectory: string;
  /** This host's name in the cluster. */
  name: string;
  /** The host (IP address or DNS name) by which the others reach this one. */
  address: string;
  port: number | undefined;
  poolDevice: string | undefined;
  poolSizeBytes: number | undefined;
  roles: readonly Role[] | undefined;
  clusterName: string | undefined;
  pluginSocket: string;
  logLevel: LogLevel;
}

/** What the daemon says of itself when it serves. */
export interface ReadySummary {
  cluster: string;
  host: string;
  /** host:port */
  address: string;
  roles: readonly Role[];
}

export interface JoinOptions {
  /** host:port of the name server. */
  joinAddress: string;
  token: string;
  /** `sha256:…` of the cluster's CA. */
  caFingerprint: string;
  stateDirectory: string;
  name: string;
  address: string;
  port: number | undefined;
}

export interface JoinSummary {
  cluster: string;
  host: string;
}

export interface LoginOptions {
  /** host:port where the name server takes new members. */
  address: string;
  token: string;
  /** `sha256:…` of the cluster's CA. */
  caFingerprint: string;
  /** Where key and certificate are kept; private. */
  directory: string;
}

export interface LoginSummary {
  cluster: string;
  user: string;
  /** RFC 3339. */
  until: string;
}

/** What the composition root gives to the command line. */
export interface CliDependencies {
  version: string;
  /**
   * Runs the daemon. Calls `ready` once, when it serves; resolves when it has ended in good order, which it begins when the signal fires.
   * @throws whatever kept it from starting
   */
  up(options: UpOptions, ready: (summary: ReadySummary) => void, signal: AbortSignal): Promise<void>;
  /** Enrols this host; `up` then runs it. */
  join(options: JoinOptions): Promise<JoinSummary>;
  /** Gets a certificate for a user. */
  login(options: LoginOptions): Promise<LoginSummary>;
  logout(directory: string): Promise<void>;
  /** The connection of the user who has logged in there; undefined if nobody has. @throws unauthenticated if the login has ended */
  openLogin(directory: string): Promise<Transport | undefined>;
  /** What a checkpoint of the audit log says, if the cluster's name server signed it at that time. @throws forbidden */
  readCheckpoint(statement: string, authorities: readonly string[], at: string): Promise<{ sequence: number; digest: string; at: string }>;
  /** Runs a program to its end. @throws command-failed */
  execute: (program: string, parameters: readonly string[], options?: { timeoutMilliseconds?: number }) => Promise<string>;
  /** The program and leading parameters that start this program again, for `up --detach`. */
  launch: readonly [program: string, ...parameters: string[]];
  stdout: OutputStream;
  stderr: OutputStream;
  stdin: Readable & { isTTY?: boolean };
  environment: NodeJS.ProcessEnv;
}
