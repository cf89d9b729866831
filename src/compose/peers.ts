import type { AgentOptions } from '../agent/context.ts';
import { TLSSocket } from 'node:tls';
import type { Denial } from '../model/access.ts';
import { requireUndenied } from '../model/deny-list.ts';
import type { ErrorCode } from '../model/errors.ts';
import type { Host } from '../model/records.ts';
import type { CredentialsHolder } from '../pki/credentials.ts';
import type { Identity } from '../pki/identity.ts';
import { bearerOf } from '../pki/live-connections.ts';
import type { LiveConnections } from '../pki/live-connections.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import { createClient } from '../protocol/client.ts';
import { peerRoutes } from '../protocol/peer-routes.ts';
import { tlsTransport } from '../protocol/transport.ts';
import type { Transport } from '../protocol/transport.ts';

type Connection = ReturnType<AgentOptions['connectToPeer']>;

interface PeersOptions {
  holder: CredentialsHolder;
  cluster: string;
  connections: LiveConnections;
  denials: () => Iterable<Denial>;
}

/** Whom an agent calls: other agents, by one connection a host and address that is kept open, and the name server. Nobody who is denied. */
export class Peers {
  readonly #options: PeersOptions;
  readonly #open = new Map<string, Connection>();

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** @throws forbidden if the host is denied */
  connect(peer: Host): Connection {
    requireUndenied(this.#options.denials(), { host: peer.id, certificate: '' });
    const key = `${peer.id} ${peer.address}`;
    let connection = this.#open.get(key);
    if (connection === undefined) {
      const transport = this.#transport(peer.address, { kind: 'host', cluster: this.#options.cluster, id: peer.id }, peer.name, 'host-unreachable');
      connection = { transport, client: createClient(peerRoutes, transport) };
      this.#open.set(key, connection);
    }
    return connection;
  }

  connectToNameServer(address: string): Transport {
    return this.#transport(address, { kind: 'name-server', cluster: this.#options.cluster }, 'The name server', 'name-server-unreachable');
  }

  close(): void {
    for (const { transport } of this.#open.values()) transport.close();
  }

  #transport(address: string, expectedIdentity: Identity, title: string, unreachable: ErrorCode): Transport {
    const { holder, connections, denials } = this.#options;
    const check = (certificate: Parameters<typeof bearerOf>[0]): void => requireUndenied(denials(), bearerOf(certificate));
    return tlsTransport(address, () => clientTlsOptions({ credentials: holder.current, expectedIdentity, check }), {
      title: `${title} (${address})`,
      unreachable,
      hint: `Check that Supercargo runs there and that the network between the hosts works.`,
      onConnection: (socket) => {
        if (socket instanceof TLSSocket) connections.add(socket);
      },
    });
  }
}
