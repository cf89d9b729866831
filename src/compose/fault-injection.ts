import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import type { AgentOptions } from '../agent/context.ts';
import type { VolumeDriver } from '../ports/driver.ts';

/**
 * Faults on demand, for tests of the real program: off unless the environment asks for them (see settings.ts).
 * The process kills itself the first time it comes to the place; a file remembers that across the restart.
 */
export function createCrashPoint(crashAt: string, directory: string): AgentOptions['crashPoint'] {
  if (crashAt === '') return () => undefined;
  const marker = join(directory, `crashed-at-${crashAt}`);
  return (place) => {
    if (place !== crashAt || existsSync(marker)) return;
    writeFileSync(marker, '');
    process.kill(process.pid, 'SIGKILL');
  };
}

/** Turns over one byte in the middle of each of the first streams that are sent, as failing memory would: after it was read, before it is hashed at the other end. */
export function withCorruption(driver: VolumeDriver, streams: number): VolumeDriver {
  if (streams === 0) return driver;
  let left = streams;
  const send: VolumeDriver['send'] = (...parameters) => {
    const stream = driver.send(...parameters);
    if (left === 0) return stream;
    left -= 1;
    let turned = false;
    const corrupt = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        if (!turned && chunk.length > 600) {
          turned = true;
          chunk[600] = (chunk[600] ?? 0) ^ 0xff;
        }
        done(null, chunk);
      },
    });
    stream.on('error', (error) => corrupt.destroy(error));
    corrupt.on('close', () => stream.destroy());
    return stream.pipe(corrupt);
  };
  // Bound to the driver itself, whose private members a proxy does not have.
  const memberOf = (target: VolumeDriver, key: string | symbol): unknown => {
    const member: unknown = Reflect.get(target, key);
    return typeof member === 'function' ? (member.bind(target) as unknown) : member;
  };
  return new Proxy(driver, { get: (target, key) => (key === 'send' ? send : memberOf(target, key)) });
}
