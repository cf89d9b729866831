import pino from 'pino';
import type { Log } from '../agent/context.ts';

/** JSON lines on standard error; what could be a secret is taken out, whatever the level. */
export function createLog(level: string): Log {
  const redact = ['token', 'secret', 'privateKeyPem', 'ticket', '*.token', '*.secret', '*.privateKeyPem', '*.ticket'];
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, redact }, pino.destination({ fd: 2, sync: true }));
}
