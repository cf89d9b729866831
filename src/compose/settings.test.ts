import { describe, expect, it } from 'vitest';
import { readSettings } from './settings.ts';

describe('settings', () => {
  it('have defaults that inject no faults', () => {
    expect(readSettings({})).toMatchObject({
      mountDeadlineMilliseconds: 100_000,
      certificateLifetimeMilliseconds: 86_400_000,
      sessionMilliseconds: 10_000,
      standStillFile: '',
      corruptStreams: 0,
    });
  });

  it('come from the environment', () => {
    const environment = { SUPERCARGO_MOUNT_DEADLINE: '4000', SUPERCARGO_SESSION: '6000', SUPERCARGO_STAND_STILL_FILE: '/place', OTHER: 'x' };
    expect(readSettings(environment)).toMatchObject({ mountDeadlineMilliseconds: 4000, sessionMilliseconds: 6000, standStillFile: '/place' });
  });

  it.each([
    ['SUPERCARGO_MOUNT_DEADLINE', '1'],
    ['SUPERCARGO_MOUNT_DEADLINE', 'soon'],
    ['SUPERCARGO_SESSION', '1.5'],
    ['SUPERCARGO_CERTIFICATE_LIFETIME', '-1'],
    ['SUPERCARGO_CORRUPT_STREAM', 'NaN'],
  ])('refuse %s=%s, naming the variable', (name, value) => {
    expect(() => readSettings({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining(name) as string }),
    );
  });
});
