import { existsSync } from 'node:fs';
import type { Host } from '../testbed/lab.ts';
import { waitUntil } from '../testbed/process.ts';
import type { VolumeStatus } from '../src/protocol/protection-routes.ts';
import { Cluster } from '../test/e2e/support/cluster.ts';
import { figure } from './figure.ts';
import type { Figure } from './figure.ts';
import { inTurn } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { PluginSocket } from './local-call.ts';

const programs = '/usr/lib/postgresql/15/bin';
const session = 'replication'.padEnd(64, '0');

/** What a replica costs: pgbench on a volume that ships its changes every 10 s, against one of the same kind that does not. */
export async function measureReplication({ runs = 4, small, say }: BenchOptions): Promise<Figure[]> {
  if (!existsSync(`${programs}/pgbench`)) throw new Error('this bench needs PostgreSQL 15: apt-get install postgresql-15');
  await using cluster = await Cluster.start({ hosts: 2, poolSize: '3G' });
  const host = cluster.host('h1');
  await cluster.run(host, 'class', 'set', 'replicated', '--replicas', '1', '--interval', '10s');
  const [plain, replicated] = [new Database(cluster, host, 'plain', 'default', 5501), new Database(cluster, host, 'shipped', 'replicated', 5502)];
  for (const database of [plain, replicated]) await database.create(small ? 1 : 20);
  await replicated.hasReplica();
  const rates = { ours: [] as number[], rival: [] as number[] };
  for (let round = 0; round < runs; round += 1) {
    const seconds = small ? 5 : 40;
    await inTurn(
      round,
      async () => void rates.ours.push(await replicated.transactionsPerSecond(seconds)),
      async () => void rates.rival.push(await plain.transactionsPerSecond(seconds)),
    );
    say(`replication ${round + 1} of ${runs}: ${rates.ours.at(-1)} shipped, ${rates.rival.at(-1)} not`);
  }
  for (const database of [plain, replicated]) await database.stop();
  return [
    figure(
      {
        bench: 'replication',
        measure: 'pgbench with a replica every 10 s',
        unit: 'transactions/s',
        better: 'higher',
        target: { ratio: 0.85 },
        rivalName: 'the same volume without replicas',
      },
      rates,
    ),
  ];
}

/** A PostgreSQL on a volume, run by the host itself. */
class Database {
  readonly #cluster: Cluster;
  readonly #host: Host;
  readonly #volume: string;
  readonly #class: string;
  readonly #port: number;

  constructor(cluster: Cluster, host: Host, volume: string, volumeClass: string, port: number) {
    this.#cluster = cluster;
    this.#host = host;
    this.#volume = volume;
    this.#class = volumeClass;
    this.#port = port;
  }

  async create(scale: number): Promise<void> {
    await this.#cluster.createVolume(this.#host, this.#volume, `class=${this.#class}`);
    const mountPoint = await new PluginSocket(this.#host.path('/run/docker/plugins/supercargo.sock')).mount(this.#volume, session);
    // The way to the mount points is root's only.
    const place = `/srv/${this.#volume}`;
    await this.#host.run(['mkdir', '-p', place]);
    await this.#host.run(['mount', '--bind', mountPoint, place]);
    await this.#host.run(['install', '-d', '-o', 'postgres', '-m', '700', `${place}/data`]);
    await this.#postgres('initdb', '-D', `${place}/data`, '--no-sync');
    await this.#postgres('pg_ctl', '-D', `${place}/data`, '-w', '-l', `${place}/data/log`, '-o', `-k /tmp -h '' -p ${this.#port}`, 'start');
    await this.#postgres('pgbench', '-h', '/tmp', '-p', String(this.#port), '-q', '-i', '-s', String(scale), 'postgres');
  }

  async hasReplica(): Promise<void> {
    await waitUntil(
      'the replica has the data',
      async () => {
        const { copies } = await this.#cluster.query<VolumeStatus>(this.#host, `/v1/volumes/${this.#volume}/status`);
        return copies.some(({ role, snapshot }) => role === 'replica' && snapshot !== null);
      },
      120_000,
    );
  }

  async transactionsPerSecond(seconds: number): Promise<number> {
    const parameters = ['-h', '/tmp', '-p', String(this.#port), '-c', '4', '-j', '2', '-T', String(seconds), 'postgres'];
    const output = await this.#postgres('pgbench', ...parameters);
    return Number(/^tps = ([\d.]+)/m.exec(output)?.[1]);
  }

  async stop(): Promise<void> {
    const place = `/srv/${this.#volume}`;
    await this.#postgres('pg_ctl', '-D', `${place}/data`, '-m', 'immediate', 'stop');
    await this.#host.run(['umount', place]);
  }

  async #postgres(program: string, ...parameters: string[]): Promise<string> {
    const argv = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', `${programs}/${program}`, ...parameters];
    return (await this.#host.run(argv, { timeoutMilliseconds: 300_000 })).stdout;
  }
}
