import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GoObject, readGoJson } from './go-json.ts';
import type { GoValue } from './go-json.ts';

/** As plain values, so that it can be compared with what JSON.parse gives. */
function plain(value: GoValue): unknown {
  if (value instanceof GoObject) return Object.fromEntries(value.entries.map(([key, each]) => [key, plain(each)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** Whether others take the text for a JSON object. */
function isObject(text: string): boolean {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
  } catch {
    return false;
  }
}

describe('JSON as Go reads it', () => {
  it('is what it is to everybody else as long as nothing is repeated', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        expect(JSON.stringify(plain(readGoJson(text)))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it('is refused wherever JSON.parse refuses it, and if it is no object', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), fc.json(), (noise, at, document) => {
        const text = document.slice(0, at % document.length) + noise + document.slice(at % document.length);
        fc.pre(!isObject(text));
        expect(() => readGoJson(text)).toThrow('cannot be judged');
      }),
    );
  });

  it.each(['{} {}', '{}x', '[]', '', '{"a":1,}', '{"a" 1}', '{a:1}', `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`, '{"a":01}', '{"a":"\n"}'])(
    'is refused as %j',
    (text) => expect(() => readGoJson(text)).toThrow('cannot be judged'),
  );

  it.each(['HostConfig', 'hostconfig', 'HOSTCONFIG', 'Ho\u017ftConfig'])('finds a member written %s', (key) => {
    expect(readGoJson(JSON.stringify({ [key]: {} })).object('HostConfig')).toBeInstanceOf(GoObject);
  });

  it('refuses a member that stands there twice, however it is written, once somebody asks for it', () => {
    const folds = fc.constantFrom('Binds', 'binds', 'BINDS', 'bind\u017f', 'Bind\\u0073');
    fc.assert(
      fc.property(folds, folds, (one, other) => {
        const object = readGoJson(`{"${one}":["a:/a"],"Env":[],"${other}":[]}`);
        expect(() => object.texts('Binds')).toThrow('stands in it 2 times');
        expect(object.texts('Env')).toEqual([]);
      }),
    );
  });

  it('takes the last of a table’s keys, which differ by letter case', () => {
    const table = readGoJson('{"Labels":{"a":"1","A":"2","a":"3"}}').table('labels');
    expect([table.get('a'), table.get('A')]).toEqual(['3', '2']);
  });

  it('refuses what is of another kind than the engine takes', () => {
    const object = readGoJson('{"Binds":"a:/a","Privileged":1,"HostConfig":[],"Runtime":{},"Mounts":[1]}');
    expect(() => object.texts('Binds')).toThrow('not a list');
    expect(() => object.flag('Privileged')).toThrow('neither true nor false');
    expect(() => object.object('HostConfig')).toThrow('not an object');
    expect(() => object.text('Runtime')).toThrow('not a text');
    expect(() => object.objects('Mounts')).toThrow('not an object');
  });
});
