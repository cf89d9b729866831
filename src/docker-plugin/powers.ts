import type { GoObject } from './go-json.ts';

/**
 * Capabilities that a container may have or add, because none of them reaches beyond its own namespaces and mounts. Docker's own default set is in it. The
 * others would: SYS_ADMIN mounts the pool, SYS_PTRACE and CHECKPOINT_RESTORE look into other processes, DAC_READ_SEARCH opens files of the host by handle,
 * SYS_MODULE, SYS_RAWIO, BPF and PERFMON enter the kernel, MAC_ADMIN and MAC_OVERRIDE take its confinement away; and so may those to come.
 */
const harmlessCapabilities = new Set(
  (
    'AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT ' +
    'AUDIT_READ IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE NET_ADMIN NET_BROADCAST SYS_NICE SYS_PACCT SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM'
  ).split(' '),
);
const harmlessSecurity = /^no-new-privileges(?:[:=](?:true|false))?$/;
const usualRuntimes = new Set(['', 'runc', 'io.containerd.runc.v2']);

/** What of a HostConfig gives a container powers over the host's files or processes, or over those of other containers; each as a phrase. */
export function powersOf(host: GoObject): string[] {
  const capabilities = [...host.texts('CapAdd'), ...host.texts('Capabilities')].map((name) => name.toUpperCase().replace(/^CAP_/, ''));
  return [
    ...(host.flag('Privileged') ? ['is privileged'] : []),
    ...capabilities.filter((name) => !harmlessCapabilities.has(name)).map((name) => `has the capability ${name}`),
    // A disk is the pool itself, /dev/mem is everything.
    ...(host.list('Devices').length > 0 ? ['gets devices of the host'] : []),
    ...(host.list('DeviceCgroupRules').length > 0 ? ['may open devices of the host'] : []),
    ...shared(host, 'PidMode', 'sees the processes of', 'and by /proc their files'),
    // A database keeps what it has in memory there.
    ...shared(host, 'IpcMode', 'shares the memory of', ''),
    ...(host.text('UsernsMode') === 'host' ? ['has the user numbers of the host'] : []),
    ...host
      .texts('SecurityOpt')
      .filter((option) => !harmlessSecurity.test(option))
      .map((option) => `has its confinement changed (${(/^[a-z-]+/.exec(option) ?? ['security option'])[0]})`),
    // Given, they take the place of those that hide what the kernel shows to root.
    ...(['MaskedPaths', 'ReadonlyPaths'] as const).filter((name) => isWeakened(host, name)).map((name) => `changes ${name}`),
    // Who is stopped and ended is found by cgroup.
    ...(host.text('CgroupParent') === '' ? [] : ['chooses its own cgroup']),
    ...(usualRuntimes.has(host.text('Runtime')) ? [] : ['chooses its own runtime']),
  ];
}

/** Whether it is another list than the engine's own: an inspected container shows that. */
function isWeakened(host: GoObject, name: 'MaskedPaths' | 'ReadonlyPaths'): boolean {
  if (host.member(name) === undefined) return false;
  const given = new Set(host.texts(name));
  return usualPaths[name].some((path) => !given.has(path));
}

/** In every engine's own list. */
const usualPaths = {
  MaskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/sys/firmware'],
  ReadonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
};

function shared(host: GoObject, member: 'PidMode' | 'IpcMode', verb: string, consequence: string): string[] {
  const mode = host.text(member);
  const whose = mode === 'host' ? 'the host' : mode.startsWith('container:') ? 'another container' : undefined;
  return whose === undefined ? [] : [`${verb} ${whose}${consequence === '' ? '' : `, ${consequence}`}`];
}
