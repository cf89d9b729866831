import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Bearer } from '../model/deny-list.ts';
import { identityOf } from './identity.ts';

/** The TLS connections that are open: a certificate that counts no more ends what was begun with it. */
export class LiveConnections {
  readonly #check: (certificate: X509Certificate) => void;
  readonly #open = new Set<TLSSocket>();

  /** @param check throws if a certificate counts no more */
  constructor(check: (certificate: X509Certificate) => void) {
    this.#check = check;
  }

  add(socket: TLSSocket): void {
    if (socket.destroyed || this.#open.has(socket)) return;
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
  }

  /** Cuts every connection whose other end's certificate counts no more. One whose handshake goes on is refused there, or by its first request. */
  recheck(): void {
    for (const socket of this.#open) {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined) continue;
      try {
        this.#check(certificate);
      } catch (error) {
        socket.destroy(error as Error);
      }
    }
  }
}

/** @throws unauthenticated if it is nobody's in a cluster */
export function bearerOf(certificate: X509Certificate): Bearer {
  const identity = identityOf(certificate);
  return { host: identity.kind === 'host' ? identity.id : null, certificate: certificate.serialNumber };
}
