import { describeIsolated } from '../../../test/support/isolated.ts';
import { describeCipherContract } from '../../ports/volume-cipher.contract.ts';
import { systemClock } from '../../system/clock.ts';
import { createLuksCipher } from './cipher.ts';

describeIsolated(import.meta.filename, () => describeCipherContract('luks', (directory) => createLuksCipher({ directory, clock: systemClock })));
