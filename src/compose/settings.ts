import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { shortestSessionMilliseconds } from '../protocol/protection-routes.ts';

/** Durations, in milliseconds, and switches that only few need to change: from the environment, so that a service file can hold them. */
const settings = z.object({
  SUPERCARGO_MOUNT_DEADLINE: z.coerce
    .number()
    .int()
    .min(500)
    .default(100_000)
    .describe('How long a mount call is held; below the engine’s own limit (Docker 120 s, Podman 5 s unless it is told otherwise).'),
  SUPERCARGO_CERTIFICATE_LIFETIME: z.coerce
    .number()
    .int()
    .min(2000)
    .default(86_400_000)
    .describe('Life of the certificates of hosts and name server.'),
  SUPERCARGO_SESSION: z.coerce
    .number()
    .int()
    .min(shortestSessionMilliseconds)
    .default(10_000)
    .describe('A host counts as down this long after its last heartbeat; by then it has stopped what is under automatic failover.'),
  SUPERCARGO_TAKEOVER_MARGIN: z.coerce
    .number()
    .int()
    .min(500)
    .default(2000)
    .describe('How much longer a lost holder is waited for, for clocks that do not run alike.'),
  SUPERCARGO_REPLICA_GRACE: z.coerce.number().int().min(1000).default(60_000).describe('A host that is away for less than this keeps its replicas.'),
  SUPERCARGO_USER_REMAPPING: z
    .enum(['0', '1'])
    .default('0')
    .describe('1 if the container engine remaps users: the way to the mount points is then open.'),
  SUPERCARGO_ACCEPT_OLDER_NAME_SERVER: z
    .enum(['0', '1'])
    .default('0')
    .describe('1, for one start, if the name server was set back to a backup on purpose.'),
  SUPERCARGO_STAND_STILL_FILE: z
    .string()
    .default('')
    .describe('Fault injection, for tests: the process stands still (SIGSTOP) at the place that this file names, once, and takes the file away.'),
  SUPERCARGO_MASTER_KEY_FILE: z
    .string()
    .default('')
    .describe('File with the master keys of encrypted volumes, for root alone; else the name server makes one.'),
  SUPERCARGO_MASTER_KEY_COMMAND: z.string().default('').describe('Program with its words, without a shell, that prints them instead.'),
  SUPERCARGO_CORRUPT_STREAM: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('Fault injection: this many streams sent from here get a wrong byte.'),
});

export interface Settings {
  mountDeadlineMilliseconds: number;
  certificateLifetimeMilliseconds: number;
  sessionMilliseconds: number;
  takeoverMarginMilliseconds: number;
  replicaGraceMilliseconds: number;
  userRemapping: boolean;
  acceptOlderNameServer: boolean;
  standStillFile: string;
  masterKeyFile: string;
  masterKeyCommand: string;
  corruptStreams: number;
}

/** @throws invalid-option that names the variable */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const parsed = settings.safeParse(environment);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new SupercargoError('invalid-option', `Environment variable ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`);
  }
  const { data } = parsed;
  return {
    mountDeadlineMilliseconds: data.SUPERCARGO_MOUNT_DEADLINE,
    certificateLifetimeMilliseconds: data.SUPERCARGO_CERTIFICATE_LIFETIME,
    sessionMilliseconds: data.SUPERCARGO_SESSION,
    takeoverMarginMilliseconds: data.SUPERCARGO_TAKEOVER_MARGIN,
    replicaGraceMilliseconds: data.SUPERCARGO_REPLICA_GRACE,
    userRemapping: data.SUPERCARGO_USER_REMAPPING === '1',
    acceptOlderNameServer: data.SUPERCARGO_ACCEPT_OLDER_NAME_SERVER === '1',
    standStillFile: data.SUPERCARGO_STAND_STILL_FILE,
    masterKeyFile: data.SUPERCARGO_MASTER_KEY_FILE,
    masterKeyCommand: data.SUPERCARGO_MASTER_KEY_COMMAND,
    corruptStreams: data.SUPERCARGO_CORRUPT_STREAM,
  };
}
