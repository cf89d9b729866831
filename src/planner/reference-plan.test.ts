import { describe, expect, it } from 'vitest';
import { staleSessions } from './reference-plan.ts';

const session = (name: string, ageMilliseconds: number, engine: string | null = 'run 1') => ({
  session: name,
  count: 1,
  answered: true,
  engine,
  ageMilliseconds,
});

describe('a session that the kernel shows no use for', () => {
  it('is void once its engine is gone, whatever its age', () => {
    expect(staleSessions({ references: [session('a', 0)], engine: 'run 2', containerStates: ['running'] })).toEqual(['a']);
    expect(staleSessions({ references: [session('a', 0)], engine: null, containerStates: null })).toEqual(['a']);
  });

  it('counts while a container that names the volume is or may be about to use it', () => {
    for (const state of ['starting', 'running', 'paused', 'restarting']) {
      expect(staleSessions({ references: [session('a', 1e9)], engine: 'run 1', containerStates: ['exited', state] })).toEqual([]);
    }
  });

  it('counts while the engine cannot be asked', () => {
    expect(staleSessions({ references: [session('a', 1e9)], engine: 'run 1', containerStates: null })).toEqual([]);
  });

  it('counts for a moment after it was answered, and not for ever', () => {
    const references = [session('new', 100), session('old', 120_000)];
    expect(staleSessions({ references, engine: 'run 1', containerStates: ['exited'] })).toEqual(['old']);
    expect(staleSessions({ references, engine: 'run 1', containerStates: [] })).toEqual(['old']);
  });
});
