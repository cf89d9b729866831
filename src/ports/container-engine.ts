/** What the agent asks a container engine (Docker, Podman). Never called from inside a call of the volume plugin: the engine may be waiting for us. */
export interface ContainerReference {
  id: string;
  name: string;
  /** created, starting, running, paused, restarting, exited, dead, removing */
  state: string;
}

export interface ListedContainer {
  id: string;
  name: string;
  /** Names of all volumes it was made with. */
  volumes: readonly string[];
}

/** How the engine is set up, as it says itself. */
export interface EngineSettings {
  /** Names of the plugins that authorize requests to its API. */
  authorizationPlugins: readonly string[];
  /** Where it keeps its own data. */
  dataDirectory: string;
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
  /** @throws host-unreachable */
  settings(): Promise<EngineSettings>;
  /** All containers, running or not. @throws host-unreachable */
  containers(): Promise<ListedContainer[]>;
  /**
   * What the engine says of a container, as JSON text; null if there is none. May be called while the engine asks whether a request is authorized: it
   * holds no container's lock then.
   * @throws host-unreachable, also while the container is being started
   */
  inspectContainer(container: string): Promise<string | null>;
  /** The same of a volume. @throws host-unreachable */
  inspectVolume(name: string): Promise<string | null>;
}
