/** What a process proves its identity with, and whom it believes. They change together, so they are kept and handed on together. */
export interface Credentials {
  certificatePem: string;
  /** A secret. */
  privateKeyPem: string;
  /** Certificates of the cluster's authorities, at least one; two while one replaces the other. The first one signs. */
  authorities: readonly string[];
}

type Listener = (credentials: Credentials) => void;

/** The credentials in use now. Renewal replaces them, and servers and clients follow without a restart. */
export class CredentialsHolder {
  #current: Credentials;
  readonly #listeners = new Set<Listener>();

  constructor(credentials: Credentials) {
    this.#current = credentials;
  }

  get current(): Credentials {
    return this.#current;
  }

  replace(credentials: Credentials): void {
    this.#current = credentials;
    for (const listener of this.#listeners) listener(credentials);
  }

  /** @returns stops the calls */
  onChange(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
