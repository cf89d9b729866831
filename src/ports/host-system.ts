import type { VolumeUse } from '../model/records.ts';

/** What keeps a volume busy on this host, by the kernel's own word (never by what an engine was heard to say). */
export interface KernelUse extends VolumeUse {
  /** Process number, so that the container engine can be asked for a name. */
  processNumber: number;
}

/** Mounts and processes of the host. `path` below is always the live path of a volume in the pool. */
export interface HostSystem {
  /**
   * Makes `path` visible at the mount point and checks by device number that it really is; safe to repeat. The bare directory below is
   * immutable and mode 000, so that nothing can ever be written to it. @throws command-failed, data-missing
   */
  mountVolume(path: string, mountPoint: string): Promise<void>;
  /** Where a path leads once every symbolic link in it is followed; what does not exist of it stays as it is. */
  realPath(path: string): Promise<string>;
  /** True if exactly this path is mounted there now. */
  isMounted(path: string, mountPoint: string): Promise<boolean>;
  /**
   * Unmounts, never lazily; safe to repeat. The bare directory stays for the next mount.
   * @throws volume-in-use if the kernel says that it is busy
   */
  unmountVolume(mountPoint: string): Promise<void>;
  /** Removes the bare directory of a mount point at which nothing is mounted; safe to repeat. */
  forgetMountPoint(mountPoint: string): Promise<void>;
  /**
   * Everything that could still read or write the data: processes in other mount namespaces that hold a mount of it, and processes with an open
   * descriptor, a mapping, a working directory or a root on it, by whatever path they reached it. The host's own mount at `mountPoint` does not count,
   * nor does this process.
   */
  usesOf(path: string, mountPoint: string): Promise<KernelUse[]>;
}
