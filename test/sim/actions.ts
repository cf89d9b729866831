import { SeededRandom } from './random.ts';

/** The volumes of every history: one of each kind of promise. */
export const volumeNames = ['auto', 'kept', 'plain'] as const;

/** In place of a host's number: the holder of the volume under automatic failover at that time. */
export const theHolder = -1;

export type Deed =
  | { do: 'start'; host: number; volume: string; impatientAfter: number | null }
  | { do: 'stop'; pick: number }
  | { do: 'move'; volume: string; host: number }
  | { do: 'cancel-moves' }
  | { do: 'fail-over'; volume: string; to: number | null }
  | { do: 'drain'; host: number; lasts: number }
  | { do: 'kill-agent'; host: number; effects: number; back: number }
  | { do: 'stop-agent'; host: number; lasts: number }
  | { do: 'kill-guard'; host: number }
  | { do: 'stop-guard'; host: number; lasts: number }
  | { do: 'stop-both'; host: number; lasts: number }
  | { do: 'freeze-host'; host: number; lasts: number; suspended: boolean }
  | { do: 'power-cut'; host: number; back: number }
  | { do: 'kill-name-server'; effects: number; back: number }
  | { do: 'stop-name-server'; lasts: number }
  | { do: 'cut'; from: number; to: number; oneWay: boolean; lasts: number }
  | { do: 'isolate'; host: number; lasts: number }
  | { do: 'slow'; share: number; most: number; lasts: number }
  | { do: 'trouble'; share: number; lasts: number }
  | { do: 'jump-clock'; machine: number; by: number }
  | { do: 'fill-disk'; host: number }
  | { do: 'burden'; host: number; by: number; lasts: number }
  | { do: 'snapshot'; volume: string; name: string }
  | { do: 'delete-snapshot'; volume: string; pick: number }
  | { do: 'revert'; volume: string; pick: number }
  | { do: 'clone'; volume: string; pick: number; name: string };

/** Something that happens to the cluster. Times and durations are true time, in milliseconds; machine 0 is the name server's. */
export type Action = { at: number } & Deed;
export type Kind = Deed['do'];

/** Chosen apart from the others. */
type OfItsOwnLuck = 'burden' | 'snapshot' | 'delete-snapshot' | 'clone' | 'revert';

interface Chooser {
  random: SeededRandom;
  hosts: number;
  host: () => number;
  /** One that meets trouble: more often one where it matters. */
  victim: () => number;
  /** Often short, now and then minutes. */
  duration: () => number;
}

type Maker = (chooser: Chooser) => Deed;

const hour = 3_600_000;

/** How often each kind is, compared with others, and how one is made. */
const makers: Record<Exclude<Kind, OfItsOwnLuck>, { weight: number; make: Maker }> = {
  start: {
    weight: 34,
    make: ({ random, host }) => ({
      do: 'start',
      host: host(),
      volume: random.pick(['auto', 'auto', ...volumeNames]),
      impatientAfter: random.chance(0.1) ? random.integer(3000) : null,
    }),
  },
  stop: { weight: 13, make: ({ random }) => ({ do: 'stop', pick: random.integer(1000) }) },
  move: { weight: 6, make: ({ random, host }) => ({ do: 'move', volume: random.pick(volumeNames), host: host() }) },
  'cancel-moves': { weight: 2, make: () => ({ do: 'cancel-moves' }) },
  'fail-over': {
    weight: 3,
    make: ({ random, host }) => ({ do: 'fail-over', volume: random.pick(volumeNames), to: random.chance(0.5) ? host() : null }),
  },
  drain: { weight: 1, make: ({ host, duration }) => ({ do: 'drain', host: host(), lasts: duration() }) },
  'kill-agent': {
    weight: 5,
    make: ({ random, victim, duration }) => ({
      do: 'kill-agent',
      host: victim(),
      effects: random.integer(random.pick([2, 120, 500])),
      back: duration(),
    }),
  },
  'stop-agent': { weight: 4, make: ({ victim, duration }) => ({ do: 'stop-agent', host: victim(), lasts: duration() }) },
  'kill-guard': { weight: 3, make: ({ victim }) => ({ do: 'kill-guard', host: victim() }) },
  'stop-guard': { weight: 3, make: ({ victim, duration }) => ({ do: 'stop-guard', host: victim(), lasts: duration() }) },
  'stop-both': { weight: 1, make: ({ victim, duration }) => ({ do: 'stop-both', host: victim(), lasts: duration() }) },
  'freeze-host': {
    weight: 2,
    make: ({ random, victim, duration }) => ({ do: 'freeze-host', host: victim(), lasts: duration(), suspended: random.chance(0.3) }),
  },
  'power-cut': { weight: 3, make: ({ victim, duration }) => ({ do: 'power-cut', host: victim(), back: duration() }) },
  'kill-name-server': {
    weight: 3,
    make: ({ random, duration }) => ({ do: 'kill-name-server', effects: random.integer(random.pick([2, 60])), back: duration() }),
  },
  'stop-name-server': { weight: 2, make: ({ duration }) => ({ do: 'stop-name-server', lasts: duration() }) },
  cut: {
    weight: 6,
    make: ({ random, hosts, victim, duration }) => ({
      do: 'cut',
      from: victim(),
      to: random.chance(0.6) ? 0 : 1 + random.integer(hosts),
      oneWay: random.chance(0.4),
      lasts: duration(),
    }),
  },
  isolate: { weight: 4, make: ({ victim, duration }) => ({ do: 'isolate', host: victim(), lasts: duration() }) },
  slow: {
    weight: 3,
    make: ({ random, duration }) => ({ do: 'slow', share: random.next(), most: random.pick([20, 500, 3000, 9000]), lasts: duration() }),
  },
  trouble: { weight: 3, make: ({ random, duration }) => ({ do: 'trouble', share: random.next() * 0.2, lasts: duration() }) },
  'jump-clock': {
    weight: 2,
    make: ({ random, hosts }) => ({ do: 'jump-clock', machine: random.integer(hosts + 1), by: Math.round((random.next() - 0.5) * 12 * hour) }),
  },
  'fill-disk': { weight: 1, make: ({ victim }) => ({ do: 'fill-disk', host: victim() }) },
};

const chosenKinds = Object.keys(makers) as (keyof typeof makers)[];
export const kinds: readonly Kind[] = [...chosenKinds, 'burden', 'snapshot', 'delete-snapshot', 'clone', 'revert'];

/** A machine that has much to do takes longer to freeze and kill, but less than the freeze's lead and the margin together leave. Milliseconds. */
const greatestBurden = 1800;

/**
 * Several troubles at once for one host: within a few seconds, and about as long as a lease. What rests on one thing being quicker than another breaks here, and
 * hardly ever when every trouble is chosen for itself.
 */
function chooseCrowd({ random, hosts, victim }: Chooser, at: number): Action[] {
  const host = victim();
  const other = 1 + random.integer(hosts);
  const brief = (): number => 500 + random.integer(random.pick([3000, 12_000]));
  const long = (): number => 5000 + random.integer(50_000);
  const deeds: (() => Deed)[] = [
    () => ({ do: 'slow', share: random.pick([0.5, 1]), most: random.pick([1000, 3000]), lasts: long() }),
    () => ({ do: 'stop-agent', host, lasts: brief() }),
    () => ({ do: 'stop-agent', host, lasts: brief() }),
    () => ({ do: 'stop-guard', host, lasts: brief() }),
    () => ({ do: 'kill-guard', host }),
    () => ({ do: 'kill-agent', host, effects: random.integer(200), back: brief() }),
    () => ({ do: 'cut', from: host, to: 0, oneWay: random.chance(0.4), lasts: long() }),
    () => ({ do: 'cut', from: host, to: 0, oneWay: random.chance(0.4), lasts: long() }),
    () => ({ do: 'cut', from: host, to: other, oneWay: false, lasts: long() }),
    () => ({ do: 'jump-clock', machine: 0, by: Math.round((random.next() - 0.7) * 6 * hour) }),
    () => ({ do: 'power-cut', host, back: long() }),
    () => ({ do: 'stop-name-server', lasts: brief() }),
    () => ({ do: 'kill-name-server', effects: random.integer(30), back: brief() }),
    () => ({ do: 'start', host: other, volume: 'auto', impatientAfter: null }),
  ];
  const size = 2 + random.integer(5);
  const spread = random.pick([2000, 10_000, 20_000]);
  return Array.from({ length: size }, () => ({ at: at + random.integer(spread), ...random.pick(deeds)() }));
}

/** One trouble after the other for a host that writes, each beginning about where the one before ends, while every message takes its time. */
function chooseAmbush({ random, host: anyHost }: Chooser, at: number): Action[] {
  const host = random.chance(0.7) ? theHolder : anyHost();
  const first = random.pick([0, 3000, 3000]) + random.integer(6000);
  const deeds: ((lasts: number) => Deed)[] = [
    (lasts) => ({ do: 'stop-agent', host, lasts }),
    (lasts) => ({ do: 'stop-guard', host, lasts }),
    (lasts) => ({ do: 'stop-agent', host, lasts }),
    (back) => ({ do: 'kill-agent', host, effects: 1, back }),
    (lasts) => ({ do: 'cut', from: host, to: 0, oneWay: random.chance(0.3), lasts }),
  ];
  const begin = at + 4000 + random.integer(3000);
  const actions: Action[] = [
    { at, do: 'start', host, volume: 'auto', impatientAfter: null },
    { at: begin - 2000, do: 'slow', share: random.pick([0, 1, 1]), most: 3000, lasts: 40_000 },
    { at: begin, ...random.pick(deeds)(first) },
  ];
  const end = begin + first - 500 + random.integer(2500);
  actions.push({ at: end, do: 'cut', from: host, to: 0, oneWay: false, lasts: 20_000 + random.integer(20_000) });
  if (random.chance(0.5)) actions.push({ at: end + random.integer(12_000), ...random.pick(deeds)(first) });
  return actions;
}

/** With a luck of their own, so that all else in the history of a seed is as it was before there were any. */
function chooseBurdens({ seed, hosts, hours }: { seed: number; hosts: number; hours: number }): Action[] {
  const random = new SeededRandom(seed * 37 + 11);
  const actions: Action[] = [];
  for (let at = random.integer(120_000); at < hours * hour; at += random.integer(240_000)) {
    const host = random.chance(0.5) ? theHolder : 1 + random.integer(hosts);
    actions.push({ at, do: 'burden', host, by: random.integer(greatestBurden), lasts: random.integer(120_000) });
  }
  return actions;
}

/** Snapshots that people ask for by name, make volumes from, and delete again, in any order: with a luck of their own, for the same reason. */
function chooseSnapshots({ seed, hours }: { seed: number; hours: number }): Action[] {
  const random = new SeededRandom(seed * 41 + 5);
  const actions: Action[] = [];
  for (let at = random.integer(20_000), number = 1; at < hours * hour; at += random.integer(random.pick([1000, 40_000, 120_000])), number += 1) {
    const volume = random.pick(volumeNames);
    actions.push({ at, do: 'snapshot', volume, name: `s${number}` });
    if (random.chance(0.5)) actions.push({ at: at + random.integer(60_000), do: 'delete-snapshot', volume, pick: random.integer(1000) });
    if (random.chance(0.3)) actions.push({ at: at + random.integer(30_000), do: 'revert', volume, pick: random.integer(1000) });
    // Each of them is a volume more, which all hosts look after until the end.
    if (random.chance(0.1))
      actions.push({ at: at + random.integer(30_000), do: 'clone', volume, pick: random.integer(1000), name: `clone${number}` });
  }
  return actions;
}

/** What happens in a history, from its seed alone. Each seed has a pace and favourite faults of its own, so that some are seen without the others. */
export function chooseActions(options: { seed: number; hosts: number; hours: number }): Action[] {
  const { hosts, hours } = options;
  const random = new SeededRandom(options.seed * 31 + 7);
  const pace = random.pick([0.1, 0.5, 1, 1, 3]);
  const crowded = random.pick([0, 0.1, 0.3]);
  const chooser: Chooser = {
    random,
    hosts,
    host: () => 1 + random.integer(hosts),
    victim: () => (random.chance(0.5) ? theHolder : 1 + random.integer(hosts)),
    duration: () => random.integer(random.pick([1000, 5000, 20_000, 20_000, 40_000, 60_000, 300_000])),
  };
  const ordinary: Kind[] = ['start', 'stop'];
  const weights = chosenKinds.map((kind) => makers[kind].weight * (ordinary.includes(kind) ? 1 : random.pick([0, 0.3, 1, 3])));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const actions: Action[] = [];
  for (let at = 0; ;) {
    at += Math.round(pace * random.integer(random.pick([500, 500, 2000, 10_000, 10_000, 40_000])));
    if (at > hours * hour) return [...actions, ...chooseBurdens(options), ...chooseSnapshots(options)].sort((a, b) => a.at - b.at);
    if (random.chance(crowded)) {
      actions.push(...(random.chance(0.5) ? chooseCrowd(chooser, at) : chooseAmbush(chooser, at)));
      at += random.integer(20_000);
      continue;
    }
    let dice = random.next() * total;
    const index = weights.findIndex((weight) => (dice -= weight) < 0);
    const kind = chosenKinds[index] ?? 'start';
    actions.push({ at, ...makers[kind].make(chooser) });
  }
}

export function describeAction({ at, ...deed }: Action): string {
  const details = Object.entries(deed).map(([key, value]) => (key === 'do' ? String(value) : `${key}=${String(value)}`));
  return `${(at / 1000).toFixed(3)} s ${details.join(' ')}`;
}
