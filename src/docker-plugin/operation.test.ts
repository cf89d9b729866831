import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readOperation } from './operation.ts';

const kind = (request: string): string => {
  const [method = '', uri = ''] = request.split(' ');
  return readOperation(method, uri).kind;
};

describe('a request to the engine', () => {
  it.each([
    ['POST /containers/create', 'create'],
    ['POST /v1.41/containers/create?name=x', 'create'],
    ['POST /v1.41/containers/%63reate', 'create'],
    ['POST http://docker/v1.41/containers/create', 'create'],
    ['POST /containers/a/b/start', 'start'],
    ['POST /containers/a/restart?t=1', 'start'],
    ['GET /containers/a/archive?path=/data', 'start'],
    ['HEAD /containers/a/archive', 'start'],
    ['PUT /containers/a/archive', 'start'],
    ['POST /containers/a/exec', 'exec'],
    ['POST /containers/a/update', 'update'],
    ['POST /containers/a/checkpoints', 'refused'],
    ['POST /containers/a/start?Checkpoint=c', 'refused'],
    ['POST /volumes/create', 'create-volume'],
    ['DELETE /volumes/a?force=1', 'remove-volume'],
    ['POST /services/create', 'service'],
    ['POST /services/a/update?version=1', 'service'],
    ['POST /plugins/pull', 'refused'],
    ['POST /plugins/a/b/set', 'refused'],
    ['POST /swarm/init', 'refused'],
    ['GET /swarm', 'refused'],
    ['GET /swarm/unlockkey', 'refused'],
    ['POST /swarm/leave', 'other'],
    ['GET /containers/json', 'other'],
    ['GET /v1.41/containers/a/json', 'other'],
    ['POST /build', 'other'],
    ['POST /commit', 'other'],
    ['POST /containers/a/rename?name=create', 'other'],
    ['DELETE /containers/a', 'other'],
    ['GET /_ping', 'other'],
  ])('%s is judged as %s', (request, expected) => expect(kind(request)).toBe(expected));

  it('names the container as the engine understands it', () => {
    expect(readOperation('POST', '/v1.41/containers/a%2Fb/start')).toMatchObject({ container: 'a/b' });
    expect(readOperation('DELETE', '/volumes/%6frders')).toEqual({ kind: 'remove-volume', name: 'orders' });
  });

  it('is refused in a version of the API that could bring more at a start', () => {
    expect(() => kind('POST /v1.23/containers/a/start')).toThrow('too old');
    expect(() => kind('POST /v1.23/containers/create')).toThrow('too old');
    expect(kind('POST /v1.24/containers/create')).toBe('create');
    expect(kind('GET /v1.18/containers/json')).toBe('other');
  });

  it('is refused if its path is malformed', () => expect(() => kind('POST /containers/%zz/start')).toThrow('not well-formed'));

  it('means the same whatever letters of it are encoded', () => {
    const encoded = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 });
    fc.assert(
      fc.property(fc.constantFrom('/containers/create', '/volumes/create', '/services/create', '/swarm/join'), encoded, (path, which) => {
        const hidden = Array.from(path, (letter, index) =>
          which[index] === true && letter !== '/' ? `%${letter.charCodeAt(0).toString(16)}` : letter,
        );
        expect(kind(`POST ${hidden.join('')}`)).toBe(kind(`POST ${path}`));
      }),
    );
  });
});
