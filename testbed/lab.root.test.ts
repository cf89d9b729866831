import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandError, Lab, TEST_IMAGE } from './lab.ts';
import type { Host } from './lab.ts';
import { isAlive, recordProcess, run, waitUntil } from './process.ts';
import { CloningFolder } from './cloning-folder.ts';
import { RACKS } from './rack.ts';

const PROGRAM = join(import.meta.dirname, 'lab.ts');

/** Prints what the first caller sends, then ends. */
const SERVER = `require('net').createServer((socket) => {
  socket.on('data', (data) => { process.stdout.write(data); process.exit(0); });
}).listen(7000, () => process.stderr.write('listening'));`;

/** Whether one host reaches the other: a TCP connection to a closed port is refused at once, or times out. */
async function reaches(from: Host, to: Host): Promise<boolean> {
  const connect = `require('net').connect({ host: '${to.name}', port: 1, timeout: 500 })
    .on('error', (error) => process.exit(error.code === 'ECONNREFUSED' ? 0 : 2)).on('timeout', () => process.exit(1))`;
  return (await from.run(['node', '-e', connect], { allowFailure: true })).exitCode === 0;
}

/** The machine's mounts that have to do with any of the paths. */
function machineMounts(paths: string[]): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return mounts.filter((mount) => mount.split(/[ :,=]/).some((word) => paths.some((path) => word === path || word.startsWith(`${path}/`))));
}

function namespacesInUse(): Set<string> {
  const links = globSync('/proc/[0-9]*/ns/{mnt,net,pid}').map((path) => {
    try {
      return readlinkSync(path);
    } catch {
      return '';
    }
  });
  return new Set(links);
}

describe('a lab of two hosts', () => {
  let lab: Lab;
  let h1: Host;
  let h2: Host;

  beforeAll(async () => {
    lab = await Lab.up({ hosts: 2, image: true });
    h1 = lab.host('h1');
    h2 = lab.host('h2');
  });
  afterAll(async () => {
    await lab?.down();
  });

  test('each host runs containers on an engine of its own', async () => {
    const names = await Promise.all([h1, h2].map((host) => host.docker('run', '--rm', '--network', 'none', '--uts', 'host', TEST_IMAGE, 'hostname')));
    expect(names.map((completed) => completed.stdout)).toEqual(['h1\n', 'h2\n']);
    await h1.docker('volume', 'create', 'only-here');
    expect((await h2.docker('volume', 'ls', '--quiet')).stdout).toBe('');
    expect(existsSync(h1.path('/var/lib/docker/volumes/only-here'))).toBe(true);
  });

  test('counts as more than one program where processors are short', () => {
    const { cgroup } = lab.rack;
    const weight = (group: string): number =>
      Number(readFileSync(globSync(`/sys/fs/cgroup/{cpu/${group}/cpu.shares,${group}/cpu.weight}`)[0]!, 'utf8'));
    expect(weight(cgroup)).toBeGreaterThan(weight(`${cgroup}/h1`));
  });

  test('the test image has seeded files and the applets', async () => {
    const script = 'cat /seeded/folder/symbolic-link && dd if=/dev/zero of=/data/x bs=1k count=2 2>/dev/null && stat -c %s /data/x';
    const { stdout } = await h1.docker('run', '--rm', '--network', 'none', TEST_IMAGE, 'sh', '-c', script);
    expect(stdout).toBe('seeded by the image\n2048\n');
  });

  test('what one host writes, neither the other nor the machine sees', async () => {
    const folders = ['/', '/etc/docker', '/etc/supercargo', '/var/lib/supercargo', '/var/lib/containerd', '/var/log'];
    const mark = `lab-test-${process.pid}`;
    for (const folder of [...folders, '/run', '/tmp', '/var/tmp', '/mnt', '/root', '/dev/shm']) {
      await writeFile(h1.path(join(folder, mark)), '');
      expect(existsSync(h2.path(join(folder, mark))), `h2:${folder}`).toBe(false);
      expect(existsSync(join(folder, mark)), folder).toBe(false);
    }
  });

  test('the checkout is there, read-only', async () => {
    const file = join(import.meta.dirname, 'lab.ts');
    expect((await h1.run(['cat', file])).stdout).toBe(await readFile(file, 'utf8'));
    const written = await h1.run(['touch', `${file}.new`], { allowFailure: true });
    expect(written.stderr).toContain('Read-only');
  });

  test('run passes input, exit codes and time limits', async () => {
    expect((await h1.run(['cat'], { input: 'through' })).stdout).toBe('through');
    expect((await h1.run(['sh', '-c', 'exit 7'], { allowFailure: true })).exitCode).toBe(7);
    await expect(h1.run(['ls', '/nowhere'])).rejects.toThrow(CommandError);
    await expect(h1.run(['sleep', '1000'], { timeoutMilliseconds: 200 })).rejects.toThrow('did not end');
    const left = (await h1.processes()).filter((process) => process.argv.includes('1000'));
    expect(left).toEqual([]);
    const there = await h1.run(['sh', '-c', 'echo $PWD $WORD'], { workingDirectory: '/var/log', environment: { WORD: 'yes' } });
    expect(there.stdout).toBe('/var/log yes\n');
  });

  test('hosts talk by name and address', async () => {
    const server = h2.spawn(['node', '-e', SERVER]);
    let received = '';
    server.stdout!.on('data', (data: Buffer) => (received += data.toString()));
    const closed = once(server, 'close');
    await once(server.stderr!, 'data');
    await h1.run(['bash', '-c', `printf hello > /dev/tcp/${h2.address}/7000`]);
    expect(await closed).toEqual([0, null]);
    expect(received).toBe('hello');
  });

  test('cut and heal', async () => {
    expect(await reaches(h1, h2)).toBe(true);
    await h2.cut();
    expect(await reaches(h1, h2)).toBe(false);
    await h2.heal();
    await waitUntil('the cable to work', () => reaches(h1, h2));
  });

  test('throttle puts a limit on the cable and lifts it', async () => {
    const limits = async (): Promise<string> => (await h1.run(['tc', 'qdisc', 'show', 'dev', 'eth0'])).stdout;
    await h1.throttle(1_000_000);
    expect(await limits()).toContain('rate 8Mbit');
    await h1.throttle(0);
    expect(await limits()).not.toContain('rate');
  });

  test('a frozen host stands still and goes on when thawed', async () => {
    const command = h1.spawn(['sh', '-c', 'read line; echo "$line"']);
    const pid = await h1.pidOf(command);
    const state = (): string => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]![0]!;
    await h1.freeze();
    let answered = false;
    command.stdout!.on('data', () => (answered = true));
    command.stdin!.end('go\n');
    // Its input is there, but it does not run: the other host's work takes longer than the command would.
    await h2.run(['true']);
    expect(answered).toBe(false);
    expect(state()).not.toBe('R');
    const closed = once(command, 'close');
    await h1.thaw();
    expect(await closed).toEqual([0, null]);
    expect(answered).toBe(true);
  });

  test('a killed dockerd leaves its containers, and starts again', async () => {
    await h1.docker('run', '--detach', '--name', 'survivor', '--network', 'none', TEST_IMAGE, 'sleep', '4321');
    const sleeper = (): Promise<boolean> => h1.processes().then((all) => all.some(({ argv }) => argv[1] === '4321'));
    await h1.stopDocker('SIGKILL');
    await expect(h1.dockerPid()).rejects.toThrow('does not run');
    expect(await sleeper()).toBe(true);
    await h1.startDocker(['--live-restore']);
    expect((await h1.docker('ps', '--quiet', '--filter', 'name=survivor')).stdout).not.toBe('');
    await h1.docker('rm', '--force', 'survivor');
    expect(await sleeper()).toBe(false);
  });

  test('power-off kills everything and keeps the disk', async () => {
    await h2.docker(
      'run',
      '--detach',
      '--network',
      'none',
      '--volume',
      'kept:/data',
      TEST_IMAGE,
      'sh',
      '-c',
      'echo kept > /data/file; sync; sleep 1000',
    );
    await waitUntil('the container to write', () => existsSync(h2.path('/var/lib/docker/volumes/kept/_data/file')));
    await writeFile(h2.path('/run/lost'), '');
    await writeFile(h2.path('/etc/supercargo/kept'), '');
    const processes = (await h2.processes()).map(({ pid }) => recordProcess(pid));
    expect(processes.length).toBeGreaterThan(4);
    await h2.freeze();
    await h2.powerOff();
    expect(processes.filter(isAlive)).toEqual([]);
    expect(h2.isUp).toBe(false);
    await h2.boot();
    await h2.startDocker();
    expect(existsSync(h2.path('/run/lost'))).toBe(false);
    expect(existsSync(h2.path('/etc/supercargo/kept'))).toBe(true);
    const again = await h2.docker('run', '--rm', '--network', 'none', '--volume', 'kept:/data', TEST_IMAGE, 'cat', '/data/file');
    expect(again.stdout).toBe('kept\n');
    expect(await reaches(h2, h1)).toBe(true);
  });
});

test('the extra disk keeps its data over a power-off', async () => {
  await using lab = await Lab.up({ hosts: 1, docker: false, disks: '256M' });
  const host = lab.host('h1');
  await host.run(['mkfs.btrfs', '--quiet', await host.disk()]);
  await host.run(['mount', await host.disk(), '/mnt']);
  await host.run(['sh', '-c', 'echo pooled > /mnt/file; sync']);
  await host.powerOff();
  await host.boot();
  await host.run(['mount', await host.disk(), '/mnt']);
  expect(await readFile(host.path('/mnt/file'), 'utf8')).toBe('pooled\n');
});

describe('on a rack that can clone files', () => {
  let folder: CloningFolder;
  beforeAll(async () => {
    folder = await CloningFolder.make('2G');
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  test('a power cut loses what was not flushed to the extra disk, and only that', async () => {
    await using lab = await Lab.up({ hosts: 1, docker: false, disks: '256M', rack: join(folder.path, 'rack') });
    const host = lab.host('h1');
    await host.run(['mkfs.ext4', '-q', await host.disk()]);
    await host.run(['mount', await host.disk(), '/mnt']);
    await host.run(['sh', '-c', 'echo flushed > /mnt/flushed; sync; echo cached > /mnt/cached']);
    await host.powerCut();
    await host.boot();
    await host.run(['mount', await host.disk(), '/mnt']);
    expect(await readFile(host.path('/mnt/flushed'), 'utf8')).toBe('flushed\n');
    expect(await readFile(host.path('/mnt/cached'), 'utf8').catch(() => '')).toBe('');
  });
});

test('a power cut without an extra disk is refused, and the host goes on', async () => {
  await using lab = await Lab.up({ hosts: 1, docker: false });
  const host = lab.host('h1');
  await expect(host.powerCut()).rejects.toThrow('no extra disk');
  expect((await host.run(['echo', 'unharmed'])).stdout).toBe('unharmed\n');
});

test('down leaves nothing, not even what hosts attached and mounted', async () => {
  const lab = await Lab.up({ hosts: 2, disks: '128M' });
  const [h1, h2] = [lab.host('h1'), lab.host('h2')];
  await h1.run(['truncate', '--size', '128M', '/var/lib/supercargo/pool']);
  const loop = (await h1.run(['losetup', '--find', '--show', '/var/lib/supercargo/pool'])).stdout.trim();
  await h1.run(['mkfs.btrfs', '--quiet', loop]);
  await h1.run(['mount', loop, '/mnt']);
  const backing = async (device: string): Promise<string> =>
    (await run(['losetup', '--noheadings', '--output', 'BACK-INO,BACK-MAJ:MIN', device], { allowFailure: true })).stdout;
  const devices = [loop, await h1.disk(), await h2.disk()];
  const backingBefore = await Promise.all(devices.map(backing));
  const processes = (await Promise.all([h1.processes(), h2.processes()])).flat().map(({ pid }) => recordProcess(pid));
  const namespaces = [h1, h2].flatMap(({ pid }) => ['mnt', 'net', 'pid'].map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`)));
  const { cgroup, folder } = lab.rack;
  expect(globSync(`/sys/fs/cgroup/**/${cgroup}`)).not.toEqual([]);
  expect(machineMounts([folder, ...devices])).toEqual([]);

  await lab.down();

  expect(processes.filter(isAlive)).toEqual([]);
  // Another test may have got the same device by now, but never the same file.
  for (const [index, device] of devices.entries()) expect(await backing(device)).not.toBe(backingBefore[index]);
  const inUse = namespacesInUse();
  expect(namespaces.filter((namespace) => inUse.has(namespace))).toEqual([]);
  expect(globSync(`/sys/fs/cgroup/**/${cgroup}`)).toEqual([]);
  expect(existsSync(folder)).toBe(false);
  expect(machineMounts([folder])).toEqual([]);
});

describe('a run that ends badly', () => {
  /** A process of its own that brings a lab up and never takes it down. */
  async function runaway(rack: string, ending: string): Promise<{ pid: number; exited: Promise<unknown> }> {
    const script = `import { Lab } from ${JSON.stringify(PROGRAM)};
      const lab = await Lab.up({ hosts: 1, docker: false, rack: ${JSON.stringify(rack)} });
      console.log('up'); ${ending}`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    return { pid: child.pid!, exited };
  }

  let parent: string;
  beforeAll(async () => {
    parent = await mkdtemp('/var/tmp/lab-test-');
  });
  afterAll(async () => {
    await rm(parent, { recursive: true });
  });

  test('on SIGTERM or an uncaught error the lab is taken down', async () => {
    const terminated = await runaway(join(parent, 'terminated'), 'setInterval(() => {}, 1000);');
    process.kill(terminated.pid, 'SIGTERM');
    expect(await terminated.exited).toEqual([143, null]);
    const failed = await runaway(join(parent, 'failed'), 'process.exit(3);');
    expect(await failed.exited).toEqual([3, null]);
    expect(existsSync(join(parent, 'terminated'))).toBe(false);
    expect(existsSync(join(parent, 'failed'))).toBe(false);
  });

  test('after SIGKILL the hosts end, and the next lab in the rack replaces what is left', async () => {
    const rack = join(parent, 'killed');
    const killed = await runaway(rack, 'setInterval(() => {}, 1000);');
    await expect(Lab.up({ hosts: 1, docker: false, rack })).rejects.toThrow('a lab is up');
    const init = recordProcess(Lab.open(rack).host('h1').pid);
    process.kill(killed.pid, 'SIGKILL');
    await killed.exited;
    await waitUntil('the host to end', () => !isAlive(init));
    expect(existsSync(rack)).toBe(true);
    await using lab = await Lab.up({ hosts: 1, docker: false, rack });
    expect(lab.host('h1').isUp).toBe(true);
  });

  test('a folder that is not a lab is never taken for one', async () => {
    await writeFile(join(parent, 'precious'), '');
    await expect(Lab.up({ hosts: 1, rack: parent })).rejects.toThrow('not a lab');
    expect(existsSync(join(parent, 'precious'))).toBe(true);
    await rm(join(parent, 'precious'));
  });
});

test('the command: two labs at once, the exit code of sh, no overlap', async () => {
  const racks = ['one', 'two'].map((name) => join(RACKS, `command-test-${process.pid}-${name}`));
  const lab = (rack: string, ...args: string[]): Promise<Awaited<ReturnType<typeof run>>> =>
    run([process.execPath, PROGRAM, '--rack', rack, ...args], { allowFailure: true });
  try {
    const ups = await Promise.all(racks.map((rack) => lab(rack, 'up', '1')));
    expect(ups.map(({ exitCode, stderr }) => ({ exitCode, stderr }))).toEqual([
      { exitCode: 0, stderr: '' },
      { exitCode: 0, stderr: '' },
    ]);
    await lab(racks[0]!, 'sh', 'h1', 'touch', '/etc/supercargo/mark');
    const found = await Promise.all(racks.map((rack) => lab(rack, 'sh', 'h1', 'ls', '/etc/supercargo')));
    expect(found.map(({ stdout }) => stdout)).toEqual(['mark\n', '']);
    expect((await lab(racks[0]!, 'sh', 'h1', 'sh', '-c', 'exit 9')).exitCode).toBe(9);
    expect((await lab(racks[0]!, 'status')).stdout).toBe('h1\t10.77.0.1\tup, docker\n');
    expect((await lab(racks[0]!, 'docker', 'h1', 'images', '--format', '{{.Repository}}:{{.Tag}}')).stdout).toBe(`${TEST_IMAGE}\n`);
    expect((await lab(racks[0]!, 'unknown')).exitCode).toBe(64);
  } finally {
    const downs = await Promise.all(racks.map((rack) => lab(rack, 'down')));
    expect(downs.map(({ exitCode, stderr }) => ({ exitCode, stderr }))).toEqual([
      { exitCode: 0, stderr: '' },
      { exitCode: 0, stderr: '' },
    ]);
  }
  expect(racks.filter((rack) => existsSync(rack))).toEqual([]);
});
