import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MasterKeys } from '../pki/master-key.ts';
import { createMasterKeySource } from './master-key.ts';
import { readSettings } from './settings.ts';

let directory: string;
let warnings: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-master-'));
  warnings = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

const silent = () => undefined;
const log = { info: silent, error: silent, debug: silent, warn: (_: object, message: string) => void warnings.push(message) };
const sourceOf = (environment: Record<string, string> = {}) => createMasterKeySource({ directory, settings: readSettings(environment), log });

function keyFile(mode: number): { path: string; masters: MasterKeys } {
  const [path, masters] = [join(directory, 'given'), MasterKeys.make()];
  writeFileSync(path, masters.toText(), { mode });
  chmodSync(path, mode);
  return { path, masters };
}

describe('the master key', () => {
  it('is made once, for its owner alone, with a warning of what that is worth', async () => {
    const { fingerprint } = await sourceOf().load();
    expect((await sourceOf().load()).fingerprint).toBe(fingerprint);
    expect(statSync(join(directory, 'master-key')).mode & 0o777).toBe(0o600);
    expect(warnings).toEqual([expect.stringContaining('a backup of this directory')]);
    expect(warnings.join()).not.toContain(readFileSync(join(directory, 'master-key'), 'utf8').trim());
  });

  it('comes from a file that only its owner can read', async () => {
    const { path, masters } = keyFile(0o600);
    const source = sourceOf({ SUPERCARGO_MASTER_KEY_FILE: path });
    expect([(await source.load()).fingerprint, source.save]).toEqual([masters.fingerprint, null]);
    chmodSync(path, 0o640);
    await expect(source.load()).rejects.toMatchObject({ code: 'invalid-option', message: expect.stringContaining(path) as string });
  });

  it('is not made anew where a file was named that is missing', async () => {
    await expect(sourceOf({ SUPERCARGO_MASTER_KEY_FILE: join(directory, 'missing') }).load()).rejects.toMatchObject({ code: 'invalid-option' });
  });

  it('comes from what a command prints', async () => {
    const { path, masters } = keyFile(0o644);
    const source = sourceOf({ SUPERCARGO_MASTER_KEY_COMMAND: `cat  ${path}` });
    expect([(await source.load()).fingerprint, source.save]).toEqual([masters.fingerprint, null]);
    await expect(sourceOf({ SUPERCARGO_MASTER_KEY_COMMAND: 'false' }).load()).rejects.toMatchObject({ code: 'command-failed' });
  });
});
