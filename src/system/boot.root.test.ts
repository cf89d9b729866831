import { expect, it } from 'vitest';
import { bootIdentifier } from './boot.ts';
import { execute } from './execute.ts';

/** What a host with an init of its own reads, from the first and from a second process. */
async function readOnHost(): Promise<string[]> {
  const read = `${process.execPath} -e 'import("${import.meta.dirname}/boot.ts").then(({ bootIdentifier }) => console.log(bootIdentifier()))'`;
  const output = await execute('unshare', ['--pid', '--fork', '--mount-proc', 'sh', '-c', `${read}; sleep 0.1; ${read}`]);
  return output.split('\n');
}

it('a boot has one name, for every process and at all times, and each boot another', async () => {
  const [first, second] = [await readOnHost(), await readOnHost()];
  expect(first).toEqual([first[0], first[0]]);
  expect(second).toEqual([second[0], second[0]]);
  expect(new Set([first[0], second[0], bootIdentifier()]).size).toBe(3);
});
