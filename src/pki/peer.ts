import type { TLSSocket } from 'node:tls';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { identityOf, type Identity } from './identity.ts';
import { checkValidity } from './verification.ts';

/** The longest sleep before looking at the wall clock again, which may be set meanwhile. */
const clockCheckMilliseconds = 60_000;

/**
 * Who is on the other side, asked anew for each request: a connection may outlive what was true at its handshake.
 * @throws unauthenticated
 */
export function peerIdentity(socket: TLSSocket, options: { cluster: string; clock: Clock }): Identity {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) {
    throw new SupercargoError('unauthenticated', 'The connection has no certificate of this cluster.', {
      hint: 'Connect with the credentials of a host.',
    });
  }
  checkValidity(certificate, options.clock);
  const identity = identityOf(certificate);
  if (identity.cluster !== options.cluster) throw new SupercargoError('unauthenticated', 'The certificate is of another cluster.');
  return identity;
}

/** Ends a connection when its peer's certificate expires (by the wall clock); a connection without one ends at once. */
export function endAtExpiry(socket: TLSSocket, clock: Clock): void {
  const expiry = socket.getPeerX509Certificate()?.validToDate.getTime() ?? -Infinity;
  const closed = new AbortController();
  socket.once('close', () => closed.abort());
  const watch = async (): Promise<void> => {
    for (let left = expiry - clock.wallMilliseconds(); left > 0 && !socket.destroyed; left = expiry - clock.wallMilliseconds()) {
      await clock.sleep(Math.min(left, clockCheckMilliseconds), closed.signal);
    }
  };
  void watch()
    .catch(() => undefined) // the connection closed by itself
    .finally(() => socket.destroy());
}
