import { openSqliteStore } from './sqlite-store.ts';
import { ManualClock } from '../../ports/manual-clock.ts';

/** For the test of durability: writes for ever and prints each revision when it is acknowledged, until it is killed. */
const store = openSqliteStore({ path: process.argv[2] ?? '', clock: new ManualClock() });
for (let number = 0; ; number += 1) {
  const result = await store.transact(
    [],
    [
      { put: `n/${number}`, value: number },
      { put: 'last', value: number },
    ],
  );
  if (result.committed) process.stdout.write(`${result.revision} ${number}\n`);
}
