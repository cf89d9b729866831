import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Credentials } from '../../src/pki/credentials.ts';
import type { Capture } from '../../testbed/capture.ts';
import type { Completed, Host } from '../../testbed/lab.ts';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { volumeRecord } from './support/invariants.ts';
import { readPackets } from './support/packets.ts';

let cluster: Cluster;
/** Of everything that passes between the hosts, from before the cluster is made. */
let capture: Capture;
let h1: Host;
let h2: Host;
let h3: Host;
/** What must not be readable on the way, by what it is. */
const secrets = new Map<string, string | Buffer>();

beforeAll(async () => {
  cluster = await Cluster.start({
    hosts: 3,
    beforeStart: async (lab) => {
      capture = await lab.capture();
    },
  });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** A word that is nowhere else, and notes it as a secret. */
function planted(what: string): string {
  const word = `planted-${randomBytes(16).toString('hex')}`;
  secrets.set(what, word);
  return word;
}

const loginEnvironment = { SUPERCARGO_LOGIN_DIRECTORY: '/var/lib/supercargo/login', SUPERCARGO_RUN_DIRECTORY: '/run/nowhere' };
/** A user's command, on a host whose own sockets it does not use: it speaks to the name server over the network. */
const asUser = (...words: string[]): Promise<Completed> => h3.run(['supercargo', ...words], { environment: loginEnvironment });

/** The base64 of a private key without its frame, in its lines: each is long enough to be nothing else. */
function noteKey(what: string, file: string): void {
  const { privateKeyPem } = JSON.parse(readFileSync(file, 'utf8')) as Credentials;
  const [, first = '', second = ''] = privateKeyPem.split('\n');
  secrets.set(`${what}, as text`, second);
  secrets.set(`${what}, as bytes`, Buffer.from(first + second, 'base64').subarray(36, 68));
}

async function joins(): Promise<void> {
  const { token, joinAddress, fingerprint } = await cluster.json<{ token: string; joinAddress: string; fingerprint: string }>(h1, 'invite');
  secrets.set('the token of a newcomer', token.split('.')[1]!);
  const own = ['--name', 'applicant', '--state-directory', '/tmp/applicant', '--address', `${h2.address}:9999`];
  await cluster.run(h2, 'join', joinAddress, '--token', token, '--ca-fingerprint', fingerprint, ...own);
  for (const host of [h1, h2, h3]) noteKey(`the key of ${host.name}`, host.path('/var/lib/supercargo/agent/identity.json'));
}

async function logsIn(): Promise<void> {
  const login = (await cluster.run(h1, 'user', 'add', 'anna', '--role', 'admin')).stdout.trim().split(/\s+/).slice(1);
  secrets.set('the token of a user', login[login.indexOf('--token') + 1]!.split('.')[1]!);
  await asUser(...login);
  noteKey('the key of a user', h3.path(`${loginEnvironment.SUPERCARGO_LOGIN_DIRECTORY}/identity.json`));
}

/** Data that goes from host to host, and on to a replica. Its marker is there many times, so that no cut into packets can hide it. */
async function dataTravels(): Promise<void> {
  const marker = planted('the data of a volume');
  await cluster.run(h1, 'class', 'set', 'kept', '--replicas', '1', '--interval', '1s');
  const volume = planted('the name of a volume');
  await cluster.createVolume(h2, volume, 'class=kept');
  await cluster.inContainer(h2, volume, `yes ${marker} | head -n 20000 > /data/${marker}; sync /data/${marker}`);
  expect((await cluster.inContainer(h3, volume, `tail -n 1 /data/${marker}`)).stdout).toBe(`${marker}\n`);
  await cluster.inContainer(h3, volume, `yes ${marker} | head -n 20000 > /data/more; sync /data/more`);
  const { lineage: before } = await volumeRecord(cluster, h1, volume);
  await waitUntil('a replica has what was written', async () => {
    const { copies } = await volumeRecord(cluster, h1, volume);
    const isNewer = (snapshot: string): boolean => before.every((entry) => entry.snapshot !== snapshot);
    return copies.some(({ kind, snapshots }) => kind === 'replica' && (snapshots.some(isNewer) || snapshots.includes(before.at(-1)!.snapshot)));
  });
}

/** What an application and a user do, the user from another host than the name server's. */
async function passIsUsed(): Promise<void> {
  await asUser('project', 'add', 'shop', '--require-grants');
  await asUser('volume', 'create', 'orders', '--project', 'shop');
  await asUser('app', 'add', 'shop/web');
  await asUser('grant', 'shop/web', 'orders', '--reason', planted('the reason of a grant'));
  await h2.engine.stop();
  await h2.startDocker(['--authorization-plugin=supercargo']);
  const pass = (await asUser('app', 'pass', 'shop/web', '--host', 'h2', '--reusable')).stdout.trim();
  secrets.set('the pass of an application', pass.split('.').at(-1)!);
  const mount = ['--volume-driver', 'supercargo', '-v', 'orders:/data'];
  const run = ['run', '--rm', '--network', 'none', '--label', pass, ...mount, TEST_IMAGE, 'true'];
  await waitUntil('the agent has seen that the engine asks', async () => (await h2.engine.command(run, { allowFailure: true })).exitCode === 0);
}

async function keyIsReleased(): Promise<void> {
  await cluster.run(h1, 'class', 'set', 'sealed', '--encryption', 'luks', '--size', '64M');
  await cluster.createVolume(h2, 'secret', 'class=sealed');
  await cluster.inContainer(h2, 'secret', 'true');
  const { epoch } = await volumeRecord(cluster, h1, 'secret');
  const body = ['--json', JSON.stringify({ epoch }), 'http://localhost/v1/volumes/secret/key'];
  const { stdout } = await h2.run(['curl', '-sf', '--unix-socket', '/run/supercargo/agent.sock', ...body]);
  const { key } = (JSON.parse(stdout) as { keys: { key: string }[] }).keys[0]!;
  secrets.set('the key of a volume, as text', key);
  secrets.set('the key of a volume, as bytes', Buffer.from(key, 'base64'));
}

/** Sent from one host to the other as it is, in two packets. */
async function sayInClear(word: string): Promise<void> {
  // Its standard input stays open: at its end it would hang up.
  const listener = h3.spawn(['busybox', 'nc', '-l', '-p', '9990'], { stdio: ['pipe', 'ignore', 'ignore'] });
  try {
    const half = word.length / 2;
    const say = `(printf %s ${word.slice(0, half)}; sleep 0.2; printf %s ${word.slice(half)}) | busybox nc ${h3.address} 9990`;
    await h2.run(['sh', '-c', `until ${say}; do sleep 0.1; done`]);
  } finally {
    await h3.kill(listener, 'SIGKILL').catch(() => undefined);
  }
}

const isReadable = (word: string | Buffer, seen: readonly Buffer[]): boolean => seen.some((bytes) => bytes.includes(word));

it('nothing of the data, and no secret, is readable on the network', async () => {
  await joins();
  await logsIn();
  await dataTravels();
  await passIsUsed();
  await keyIsReleased();
  const control = `control-${randomBytes(16).toString('hex')}`;
  await sayInClear(control);
  await waitUntil('what was said in clear, last of all, is found', () => isReadable(control, readPackets(capture.file)), 30_000, 1000);
  await capture.stop();

  const seen = readPackets(capture.file);
  expect([...secrets].filter(([, word]) => word.length < 16)).toEqual([]);
  expect([...secrets].flatMap(([what, word]) => (isReadable(word, seen) ? [what] : []))).toEqual([]);
  // Nobody speaks HTTP without TLS, and no ticket or pass, whichever, goes by.
  for (const word of ['HTTP/1.1', 'eyJhbGciOi', 'btrfs-stream']) expect([word, isReadable(word, seen)]).toEqual([word, false]);
});
