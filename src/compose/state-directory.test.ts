import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadJson, saveJson } from './state-directory.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'supercargo-state-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const schema = z.object({ name: z.string() });

describe('a file of the state directory', () => {
  it('is read back as it was written, by root only', async () => {
    const path = join(directory, 'x.json');
    expect(await loadJson(path, schema)).toBeUndefined();
    await saveJson(path, { name: 'h1' });
    await saveJson(path, { name: 'h2' });
    expect(await loadJson(path, schema)).toEqual({ name: 'h2' });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it.each(['', '{', '[]', '{"name":7}'])('that holds %j is damaged, which is said and not mended', async (content) => {
    const path = join(directory, 'x.json');
    await writeFile(path, content);
    await expect(loadJson(path, schema)).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining(path) as string });
  });
});
