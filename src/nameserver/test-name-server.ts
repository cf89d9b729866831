import { newIdentifier } from '../model/identifiers.ts';
import type { AuthorityKeeper } from '../pki/authority-keeper.ts';
import { MasterKeys } from '../pki/master-key.ts';
import type { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import type { Routes } from '../protocol/routes.ts';
import type { CallerIdentity, Handlers, RequestContext } from '../protocol/server.ts';
import { enrolLocalHost, ensureCluster } from './enrolment.ts';
import type { MasterKeySource } from './volume-keys.ts';
import { createNameServer } from './name-server.ts';
import type { IssuedCertificate, NameServer, NameServerContext } from './name-server.ts';

export const testLifetimeMilliseconds = 86_400_000;
let issued = 0;

function issueForTest(host: string, clock: ManualClock): IssuedCertificate {
  issued += 1;
  const expiresAt = new Date(clock.wallMilliseconds() + testLifetimeMilliseconds).toISOString();
  return { certificate: `certificate of ${host}`, serial: issued.toString(16).toUpperCase().padStart(32, '4'), expiresAt };
}

interface TestOptions {
  sessionMilliseconds?: number;
  /** Without, there is no authority to speak of. */
  rotation?: AuthorityKeeper;
  masterKeys?: MasterKeySource;
}

const noRotation = { introduce: async () => undefined, promote: async () => undefined, retire: async () => undefined };

/** Master keys in memory, which are replaced as those in a file of the name server's own would be. */
export function fixedMasterKeys(keys = MasterKeys.make()): MasterKeySource {
  let current = keys;
  return {
    load: async () => current,
    save: async (changed) => {
      current = changed;
    },
  };
}

/** A name server for tests, over a store of the test's choice, whose handlers are called as whoever is named. */
export class TestNameServer {
  readonly clock: ManualClock;
  readonly store: Store;
  /** What it met and survived. */
  readonly defects: unknown[];
  readonly #server: NameServer;

  private constructor(server: NameServer, clock: ManualClock, defects: unknown[]) {
    this.defects = defects;
    this.#server = server;
    this.store = server.context.store;
    this.clock = clock;
  }

  static async start(store: Store, clock: ManualClock, options: TestOptions = {}): Promise<TestNameServer> {
    const defects: unknown[] = [];
    const server = await createNameServer({
      store,
      clock,
      random: (length) => Buffer.from(newIdentifier('vol').slice(4), 'hex').subarray(0, length),
      issuer: {
        issueHostCertificate: async (host) => issueForTest(host, clock),
        issueUserCertificate: async (user) => `certificate of ${user}`,
        lifetimeMilliseconds: testLifetimeMilliseconds,
        authorities: () => options.rotation?.certificates ?? ['authority'],
        fingerprint: () => 'fingerprint',
        phase: () => options.rotation?.phase ?? 'none',
        rotation: options.rotation ?? noRotation,
        signTicket: async (claims) => JSON.stringify(claims),
        signCheckpoint: async (claims) => JSON.stringify(claims),
        signPass: async (claims) => JSON.stringify(claims),
      },
      masterKeys: options.masterKeys ?? fixedMasterKeys(),
      address: 'ns:7470',
      joinAddress: 'ns:7471',
      sessionMilliseconds: options.sessionMilliseconds ?? 15_000,
      takeoverMarginMilliseconds: 2000,
      replicaGraceMilliseconds: 60_000,
      onDefect: (error) => defects.push(error),
    });
    await ensureCluster(server.context, { id: newIdentifier('clu'), name: 'test', createdAt: server.context.repository.now() });
    return new TestNameServer(server, clock, defects);
  }

  get context(): NameServerContext {
    return this.#server.context;
  }

  get handlers(): Handlers<Routes> {
    return this.#server.handlers;
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#server.run(signal);
  }

  /** Enrols a host. @param own whether the name server itself runs there @returns its identifier */
  async addHost(name: string, own = false): Promise<string> {
    const { host } = await enrolLocalHost(this.#server.context, { name, address: `${name}:7472`, request: `request of ${name}` }, null);
    if (!own) this.#server.context.localHost = null;
    return host.id;
  }

  /** The handlers as one caller sees them: a host or a user by its identifier, or the operator. */
  as(
    host: string | null | { user: string },
    options: { certificate?: string; signal?: AbortSignal; ifMatch?: string; onEntityTag?: (tag: string) => void } = {},
  ): Calls {
    const context: RequestContext = {
      ...identityOf(host),
      certificate: options.certificate ?? null,
      signal: options.signal ?? new AbortController().signal,
      ifMatch: options.ifMatch,
      setEntityTag: options.onEntityTag ?? (() => undefined),
    };
    const bound = Object.entries(this.handlers).map(([name, handler]) => [
      name,
      (input: never) => (handler as (input: never, context: RequestContext) => unknown)(input, context),
    ]);
    return Object.fromEntries(bound) as Calls;
  }
}

function identityOf(caller: string | null | { user: string }): Omit<CallerIdentity, 'certificate'> {
  if (caller === null) return { caller: 'operator', host: null };
  return typeof caller === 'string' ? { caller: 'host', host: caller } : { caller: 'user', host: null, user: caller.user };
}

/** Every handler without its second parameter. */
export type Calls = { [K in keyof Handlers<Routes>]: (input: Partial<Parameters<Handlers<Routes>[K]>[0]>) => ReturnType<Handlers<Routes>[K]> };
