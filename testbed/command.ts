/** The `lab` command: the testbed's verbs for people. */
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { DOCKER } from './engine.ts';
import { Lab } from './lab.ts';
import { RACKS } from './rack.ts';

const USAGE = `usage: lab [--rack DIR] VERB [ARGUMENT...]

  up [--disks SIZE] N [DOCKERD ARGUMENT...]
                               boot hosts h1 to hN, each with Docker, the image supercargo-test:1
                               and, if asked for, an extra disk
  down                         power everything off and delete all disks
  status                       hosts, their addresses and engines
  start H                      boot a host (again); Docker is not started
  poweroff H                   kill everything on the host at once, keep its disk
  powercut H                   the same, and lose what is not flushed to the extra disk (rack on xfs or btrfs)
  sh H COMMAND [ARGUMENT...]   run a command on the host
  docker H ARGUMENT...         run the docker client against the host's engine
  dockerd H [ARGUMENT...]      start the host's engine
  dockerd-stop H [SIGNAL]      stop the host's engine (SIGTERM)
  cut H, heal H                pull the host's network cable, put it back
  freeze H, thaw H             stop every process where it stands, let them go on
  throttle H BYTES             limit the network to BYTES per second each way; 0 lifts the limit

The rack (state folder) is --rack, else $SUPERCARGO_LAB, else ${join(RACKS, 'default')}.
`;

type Verb = (lab: Lab, host: string, rest: string[]) => Promise<number | void>;

const VERBS: Readonly<Record<string, Verb>> = {
  start: (lab, host) => lab.host(host).boot(),
  powercut: (lab, host) => lab.host(host).powerCut(),
  poweroff: (lab, host) => lab.host(host).powerOff(),
  dockerd: (lab, host, rest) => lab.host(host).startDocker(rest),
  'dockerd-stop': (lab, host, [name]) => lab.host(host).stopDocker(signalName(name)),
  cut: (lab, host) => lab.host(host).cut(),
  heal: (lab, host) => lab.host(host).heal(),
  freeze: (lab, host) => lab.host(host).freeze(),
  thaw: (lab, host) => lab.host(host).thaw(),
  throttle: (lab, host, [bytes]) => lab.host(host).throttle(wholeNumber(bytes)),
  sh: (lab, host, rest) => exitCodeOf(lab.host(host).spawn(rest, { stdio: 'inherit', foreground: true })),
  docker: (lab, host, rest) => {
    const socket = `unix://${lab.host(host).engine.socket}`;
    return exitCodeOf(spawn(DOCKER, ['--host', socket, ...rest], { stdio: 'inherit' }));
  },
};

/** Runs one verb; returns the exit code. */
export async function main(argv: string[]): Promise<number> {
  const args = [...argv];
  let rack = process.env['SUPERCARGO_LAB'] ?? join(RACKS, 'default');
  if (args[0] === '--rack' && args[1] !== undefined) rack = args.splice(0, 2)[1] ?? rack;
  const [verb, host, ...rest] = args;
  try {
    if (verb === 'up') return await up(rack, args.slice(1));
    if (verb === 'down') return await down(rack);
    if (verb === 'status') return await status(Lab.open(rack));
    const action = verb === undefined || !Object.hasOwn(VERBS, verb) ? undefined : VERBS[verb];
    if (action === undefined || host === undefined) {
      process.stderr.write(USAGE);
      return 64;
    }
    return (await action(Lab.open(rack), host, rest)) ?? 0;
  } catch (error) {
    process.stderr.write(`lab: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

async function up(rack: string, args: string[]): Promise<number> {
  const started = performance.now();
  const disks = args[0] === '--disks' && args[1] !== undefined ? { disks: args.splice(0, 2)[1] ?? '' } : {};
  const hosts = wholeNumber(args.shift());
  await Lab.up({ hosts, rack, ...disks, dockerArguments: args, image: true, persistent: true });
  console.log(`${hosts} hosts are up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return 0;
}

async function down(rack: string): Promise<number> {
  await Lab.open(rack).down();
  return 0;
}

async function status(lab: Lab): Promise<number> {
  for (const host of lab.hosts) {
    const engine = host.isUp && (await host.engine.findPid()) !== undefined ? 'docker' : 'no docker';
    console.log(`${host.name}\t${host.address}\t${host.isUp ? `up, ${engine}` : 'off'}`);
  }
  return 0;
}

async function exitCodeOf(child: ChildProcess): Promise<number> {
  // The terminal sends Ctrl-C to the command too: its exit code is what counts.
  process.on('SIGINT', () => {});
  const [code, name] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return code ?? 128 + (name === null ? 0 : constants.signals[name]);
}

function wholeNumber(text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text)) throw new Error(`a whole number is needed, not ${text ?? 'nothing'}`);
  return Number(text);
}

function signalName(text = 'TERM'): NodeJS.Signals {
  const name = (text.startsWith('SIG') ? text : `SIG${text}`) as NodeJS.Signals;
  if (constants.signals[name] === undefined) throw new Error(`there is no signal ${text}`);
  return name;
}
