import type { AccessMode } from '../model/access.ts';
import type { ContainerWish, WishedPath, WishedVolume } from '../ports/container-gate.ts';
import { asText, GoObject, unreadable } from './go-json.ts';
import type { GoValue } from './go-json.ts';
import { powersOf } from './powers.ts';

/** The label in which a container shows its pass. */
const passLabel = 'supercargo.pass';
/** By these labels Swarm knows its own containers: one that is made by the API must not pass for one of them. */
const reservedLabels = /^com\.docker\.swarm\./;

/** A container whose volumes another one gets as well. */
export interface VolumesFrom {
  container: string;
  /** Whether it gets all of them read-only. */
  readOnly: boolean;
}

export interface CreateRequest {
  wish: ContainerWish;
  volumesFrom: readonly VolumesFrom[];
}

/** What of a mount names a volume, or a place on the host. */
type Wished = Pick<ContainerWish, 'volumes' | 'paths'>;

/**
 * What the body of POST /containers/create asks for. Engines before 23 take over a HostConfig whose members stand directly in the body, so both are read.
 * @param driver the name by which the engine knows our volume driver
 * @throws forbidden if it cannot be told
 */
export function readCreate(body: GoObject, driver: string): CreateRequest {
  const hosts = [body, body.object('HostConfig')].filter((each) => each !== undefined);
  const parts = hosts.map((host) => readHostConfig(host, driver));
  const labels = body.table('Labels');
  const reserved = [...labels.keys()].find((label) => reservedLabels.test(label));
  if (reserved !== undefined) throw unreadable(`label "${reserved}" is for the containers of Swarm only`);
  const anonymous = hosts.some((host) => host.text('VolumeDriver') === driver) ? readAnonymous(body.table('Volumes')) : [];
  return {
    wish: {
      pass: readPass(labels),
      volumes: [...parts.flatMap(({ volumes }) => volumes), ...anonymous],
      paths: parts.flatMap(({ paths }) => paths),
      powers: hosts.flatMap(powersOf),
    },
    volumesFrom: hosts.flatMap((host) => host.texts('VolumesFrom').map(readVolumesFrom)),
  };
}

function readPass(labels: ReadonlyMap<string, GoValue>): string | null {
  const pass = labels.get(passLabel);
  return pass === undefined || pass === null ? null : asText(pass, passLabel);
}

/** Such volumes are new: nothing is in them yet, but the project that they are made in may require a grant. */
function readAnonymous(volumes: ReadonlyMap<string, GoValue>): WishedVolume[] {
  return volumes.size === 0 ? [] : [{ name: null, mode: 'read-write', fresh: { project: null } }];
}

function readHostConfig(host: GoObject, driver: string): Wished {
  const fresh = host.text('VolumeDriver') === driver ? { fresh: { project: null } } : {};
  return merge([...host.texts('Binds').map((bind) => readBind(bind, fresh)), ...host.objects('Mounts').map((mount) => readMount(mount, driver))]);
}

/** SOURCE:TARGET[:OPTIONS]. What begins with a slash is a path, anything else a volume's name; TARGET alone is an anonymous volume. */
function readBind(bind: string, fresh: Pick<WishedVolume, 'fresh'>): Wished {
  const parts = bind.split(':');
  const [source = '', , options = ''] = parts;
  if (parts.length > 3) throw unreadable(`mount ${JSON.stringify(bind)} has more than three parts`);
  const mode: AccessMode = options.split(',').includes('ro') ? 'read-only' : 'read-write';
  if (parts.length === 1) return { volumes: [{ name: null, mode, ...fresh }], paths: [] };
  return source.startsWith('/') ? { volumes: [], paths: [{ path: source, mode }] } : { volumes: [{ name: source, mode, ...fresh }], paths: [] };
}

function readMount(mount: GoObject, driver: string): Wished {
  const mode: AccessMode = mount.flag('ReadOnly') ? 'read-only' : 'read-write';
  const source = mount.text('Source');
  switch (mount.text('Type')) {
    case 'bind':
      return { volumes: [], paths: [{ path: source, mode }] };
    case 'volume':
      return readVolumeMount(mount.object('VolumeOptions')?.object('DriverConfig'), source === '' ? null : source, mode, driver);
    // Files of an image, or memory: nothing of anybody's.
    case 'image':
    case 'tmpfs':
      return { volumes: [], paths: [] };
    default:
      throw unreadable(`mounts of type ${JSON.stringify(mount.text('Type'))} are not known`);
  }
}

function readVolumeMount(config: GoObject | undefined, name: string | null, mode: AccessMode, driver: string): Wished {
  const options = config?.table('Options') ?? new Map<string, GoValue>();
  if (config?.text('Name') === driver) {
    const project = options.get('project') ?? null;
    return { volumes: [{ name, mode, fresh: { project: project === null ? null : asText(project, 'project') } }], paths: [] };
  }
  // A new volume of the engine's own driver may be a place on the host under another name.
  return { volumes: [{ name, mode }], paths: localVolumePaths(options) };
}

/** File systems on the network, or in memory: no place on this host. */
const elsewhere = /^(?:tmpfs|nfs4?|cifs|smb3?)$/;

/**
 * The places on the host that a volume of the engine's own driver shows, by its options: what `mount` takes.
 * @throws forbidden if they mount something of the host that is not a directory
 */
export function localVolumePaths(options: ReadonlyMap<string, GoValue>): WishedPath[] {
  const text = (name: string): string => asText(options.get(name) ?? '', name);
  const [type, device] = [text('type'), text('device')];
  // First, because a bind mount takes no notice of its type.
  const isBind = text('o')
    .split(',')
    .some((flag) => flag === 'bind' || flag === 'rbind');
  if (isBind && device.startsWith('/')) return [{ path: device, mode: 'read-write' }];
  if (!isBind && (elsewhere.test(type) || (type === '' && device === ''))) return [];
  // A disk holds the pool itself; "proc" shows the processes of the host, with their files; "overlay" takes paths in its options.
  throw unreadable(`a volume of type ${JSON.stringify(type)} mounts ${JSON.stringify(device)} itself`);
}

function readVolumesFrom(text: string): VolumesFrom {
  const [container = '', mode = ''] = text.split(':');
  return { container, readOnly: mode.split(',').includes('ro') };
}

/** A container as the engine shows it. */
export interface InspectedContainer {
  /** The engine's identifier, whatever it was asked by. */
  id: string;
  wish: Omit<ContainerWish, 'pass'>;
}

/** Reads the engine's own answer to GET /containers/ID/json: it lists all mounts, wherever they came from. @throws forbidden */
export function readInspected(container: GoObject): InspectedContainer {
  const mounts = container.objects('Mounts').map((mount): Wished => {
    const mode: AccessMode = mount.flag('RW') ? 'read-write' : 'read-only';
    if (mount.text('Type') === 'volume') return { volumes: [{ name: mount.text('Name'), mode }], paths: [] };
    return mount.text('Type') === 'bind' ? { volumes: [], paths: [{ path: mount.text('Source'), mode }] } : { volumes: [], paths: [] };
  });
  return { id: container.text('Id'), wish: { ...merge(mounts), powers: powersOf(container.object('HostConfig') ?? new GoObject([])) } };
}

/** What a service's tasks are to get. They are made by the engine itself, so no container of theirs is ever judged. @throws forbidden */
export function readService(body: GoObject, driver: string): ContainerWish {
  const container = body.object('TaskTemplate')?.object('ContainerSpec') ?? new GoObject([]);
  const mounts = merge(container.objects('Mounts').map((mount) => readMount(mount, driver)));
  // The rest of these names do not occur there.
  const powers = powersOf(new GoObject([['CapAdd', container.texts('CapabilityAdd')]]));
  const privileges = container.object('Privileges');
  const weakened = ['SELinuxContext', 'Seccomp', 'AppArmor'].some((name) => privileges?.member(name) !== undefined)
    ? ['has its confinement changed']
    : [];
  const plugin = body.object('TaskTemplate')?.object('PluginSpec') === undefined ? [] : ['is a plugin of the engine'];
  return { pass: null, ...mounts, powers: [...powers, ...weakened, ...plugin] };
}

function merge(parts: readonly Wished[]): Wished {
  return { volumes: parts.flatMap(({ volumes }) => volumes), paths: parts.flatMap(({ paths }) => paths) };
}
