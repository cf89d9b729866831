/** What the agent asks a container engine (Docker, Podman). Never called from inside a plugin call: the engine may be waiting for us. */
export interface ContainerReference {
  id: string;
  name: string;
  /** created, starting, running, paused, restarting, exited, dead, removing */
  state: string;
}

export interface ContainerEngine {
  /** Changes whenever the engine was restarted; null while it does not run. Does not call the engine. */
  instance(): Promise<string | null>;
  /** Containers, running or not, that name the volume. @throws host-unreachable if the engine does not answer within a few seconds */
  containersUsing(volumeName: string): Promise<ContainerReference[]>;
  /** Containers by process, for showing who uses a volume: the container of a process number, or null. */
  containerOfProcess(processNumber: number): Promise<ContainerReference | null>;
  /** Makes the engine discover the plugin (Swarm asks only drivers that were used since the engine started). */
  warmUp(): Promise<void>;
}
