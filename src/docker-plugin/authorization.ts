import { createHash } from 'node:crypto';
import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';
import type { ContainerGate, ContainerWish, WishedPath, WishedVolume } from '../ports/container-gate.ts';
import { localVolumePaths, readCreate, readInspected, readService } from './container-wish.ts';
import type { InspectedContainer, VolumesFrom } from './container-wish.ts';
import { readGoJson, unreadable } from './go-json.ts';
import type { GoObject } from './go-json.ts';
import { readOperation } from './operation.ts';
import { powersOf } from './powers.ts';
import type { CallDocument } from './request.ts';

export interface AuthorizationOptions {
  gate: ContainerGate;
  engine: Pick<ContainerEngine, 'inspectContainer' | 'inspectVolume'>;
  /** The name by which the engine knows our volume driver. */
  driver: string;
}

/** The engine's question about a request to its API. */
interface EngineRequest {
  method: string;
  uri: string;
  /** Empty if there is none, or none that the engine shows: not JSON, of unknown length, or of 1 MiB and more. */
  body: string;
}

/** What the engine is told. */
export interface AuthorizationAnswer {
  Allow: boolean;
  Msg: string;
  Err: string;
}

const allowed: AuthorizationAnswer = { Allow: true, Msg: '', Err: '' };

/** Answers the engine's questions whether a request to its API may be done, and hears how those that matter ended. */
export class Authorization {
  readonly #options: AuthorizationOptions;

  constructor(options: AuthorizationOptions) {
    this.#options = options;
  }

  /** Before the engine does it. Whatever cannot be judged is refused. */
  async request(document: CallDocument): Promise<AuthorizationAnswer> {
    if (!this.#options.gate.guarding) return allowed;
    try {
      await this.#judge(readRequest(document));
      return allowed;
    } catch (error) {
      // A defect of ours is a refusal as well, but one that shows as such.
      const failure = toSupercargoError(error);
      return { Allow: false, Msg: failure.toText(), Err: failure.code === 'forbidden' ? '' : failure.toText() };
    }
  }

  /** After the engine did it, or failed to. Nothing is refused here: it would not be undone. */
  async response(document: CallDocument): Promise<AuthorizationAnswer> {
    const { gate } = this.#options;
    if (!gate.guarding) return allowed;
    const request = readRequest(document);
    if (readOperation(request.method, request.uri).kind !== 'create') return allowed;
    const made = document['ResponseStatusCode'] === 201;
    await gate.created(keyOf(request), made ? readGoJson(decode(document['ResponseBody'])).text('Id') : null);
    return allowed;
  }

  async #judge(request: EngineRequest): Promise<void> {
    const { gate, driver } = this.#options;
    const operation = readOperation(request.method, request.uri);
    switch (operation.kind) {
      case 'other':
        return;
      case 'refused':
        throw new SupercargoError('forbidden', `This is refused while a project of the cluster requires grants: ${operation.reason}.`);
      case 'create':
        return gate.create(keyOf(request), await this.#completeCreate(readBody(request)));
      case 'start': {
        if (operation.withBody && !/^\s*(?:\{\s*\}|null)?\s*$/.test(request.body)) throw unreadable(`a ${operation.what} with a body is of the past`);
        const { id, wish } = await this.#inspect(operation.container);
        return gate.start(id, wish);
      }
      case 'exec': {
        if (!readBody(request).flag('Privileged')) return;
        const { id } = await this.#inspect(operation.container);
        return gate.start(id, { volumes: [], paths: [], powers: ['runs a privileged program'] });
      }
      case 'update':
        return gate.use({ paths: [], powers: powersOf(readBody(request)) });
      case 'create-volume':
        return gate.use({ paths: readVolume(readBody(request), driver), powers: [] });
      case 'remove-volume':
        if (!gate.isProtected(operation.name)) return;
        throw new SupercargoError('forbidden', `Volume "${operation.name}" is of a project that requires grants: Docker may not remove it.`, {
          hint: `Remove it with: supercargo volume rm ${operation.name}`,
        });
      case 'service':
        return this.#judgeService(await this.#complete(readService(readBody(request), driver)));
    }
  }

  /** Tasks of a service are made by the engine itself, on whatever host, and show no pass: they get nothing that needs one. */
  async #judgeService({ volumes, paths, powers }: ContainerWish): Promise<void> {
    const { gate } = this.#options;
    const named = volumes.find(({ name, fresh }) => (name !== null && gate.isProtected(name)) || fresh?.project);
    if (named !== undefined) {
      throw new SupercargoError('forbidden', `Volume "${named.name}" is of a project that requires grants: services of Swarm cannot use it.`, {
        hint: 'Run it by docker run or Compose, with a pass (docs/docker.md, "Compose, Swarm, Podman"), or keep the volume in a project that requires no grants.',
      });
    }
    await gate.use({ paths, powers });
  }

  async #completeCreate(body: GoObject): Promise<ContainerWish> {
    const { wish, volumesFrom } = readCreate(body, this.#options.driver);
    const borrowed = await Promise.all(volumesFrom.map((each) => this.#borrow(each)));
    return this.#complete({
      ...wish,
      volumes: [...wish.volumes, ...borrowed.flatMap(({ volumes }) => volumes)],
      paths: [...wish.paths, ...borrowed.flatMap(({ paths }) => paths)],
    });
  }

  /** Volumes of the engine's own driver may be places on the host under another name: these are added. */
  async #complete<Wish extends Omit<ContainerWish, 'pass'>>(wish: Wish): Promise<Wish> {
    const hidden = await Promise.all(wish.volumes.map((volume) => this.#placesBehind(volume)));
    return { ...wish, paths: [...wish.paths, ...hidden.flat()] };
  }

  async #placesBehind({ name }: WishedVolume): Promise<WishedPath[]> {
    const text = name === null ? null : await this.#options.engine.inspectVolume(name);
    if (text === null) return [];
    const volume = readGoJson(text);
    return volume.text('Driver') === 'local' ? localVolumePaths(volume.table('Options')) : [];
  }

  async #borrow({ container, readOnly }: VolumesFrom): Promise<InspectedContainer['wish']> {
    const { wish } = await this.#inspect(container);
    return readOnly ? { ...wish, volumes: wish.volumes.map((volume) => ({ ...volume, mode: 'read-only' as const })) } : wish;
  }

  /** @throws forbidden if the engine cannot show it now */
  async #inspect(container: string): Promise<InspectedContainer> {
    const text = await this.#options.engine.inspectContainer(container);
    if (text === null) throw unreadable(`there is no container ${JSON.stringify(container)}`);
    const { id, wish } = readInspected(readGoJson(text));
    return { id, wish: await this.#complete(wish) };
  }
}

function readVolume(body: GoObject, driver: string): WishedPath[] {
  return body.text('Driver') === driver ? [] : localVolumePaths(body.table('DriverOpts'));
}

/** @throws forbidden if the engine does not show what it was sent */
function readBody({ body }: EngineRequest): GoObject {
  if (body.trim() === '') throw unreadable('the engine does not show its body, which must be JSON, of a length told in advance, under 1 MiB');
  return readGoJson(body);
}

function readRequest(document: CallDocument): EngineRequest {
  const text = (name: string): string => {
    const value = document[name];
    if (typeof value !== 'string') throw unreadable(`the engine does not tell ${name}`);
    return value;
  };
  return { method: text('RequestMethod'), uri: text('RequestUri'), body: decode(document['RequestBody']) };
}

/** Go writes bytes as base64. */
function decode(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '';
}

function keyOf({ method, uri, body }: EngineRequest): string {
  return createHash('sha256')
    .update(JSON.stringify([method, uri, body]))
    .digest('hex');
}
