import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createHostSystem } from './host-system.ts';

let directory: string;
const { realPath } = createHostSystem();

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'supercargo-paths-')));
  mkdirSync(join(directory, 'secret'));
  symlinkSync('secret', join(directory, 'link'));
  symlinkSync(join(directory, 'secret/to-come'), join(directory, 'dangling'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

it.each([
  ['secret', 'secret'],
  ['link', 'secret'],
  ['link/new/folder', 'secret/new/folder'],
  ['dangling', 'secret/to-come'],
  ['dangling/x', 'secret/to-come/x'],
  ['absent/x', 'absent/x'],
])('%s leads to %s', async (path, expected) => expect(await realPath(join(directory, path))).toBe(join(directory, expected)));
