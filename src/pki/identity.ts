import type { X509Certificate } from 'node:crypto';
import { SupercargoError } from '../model/errors.ts';

/** Who a certificate speaks for: one host of a cluster, one of its users, or its name server. */
export type Identity = { kind: 'host' | 'user'; cluster: string; id: string } | { kind: 'name-server'; cluster: string };

const clusterPattern = /^spiffe:\/\/(clu_[0-9a-f]{24})$/;
const identityPattern = /^spiffe:\/\/(clu_[0-9a-f]{24})\/(?:host\/(hst_[0-9a-f]{24})|user\/(usr_[0-9a-f]{24})|name-server)$/;
const singleUriPattern = /^URI:([^,"\s]+)$/;

export function clusterUri(cluster: string): string {
  return `spiffe://${cluster}`;
}

export function hostUri(cluster: string, host: string): string {
  return `spiffe://${cluster}/host/${host}`;
}

export function userUri(cluster: string, user: string): string {
  return `spiffe://${cluster}/user/${user}`;
}

export function nameServerUri(cluster: string): string {
  return `spiffe://${cluster}/name-server`;
}

export function identityUri(identity: Identity): string {
  if (identity.kind === 'name-server') return nameServerUri(identity.cluster);
  return identity.kind === 'host' ? hostUri(identity.cluster, identity.id) : userUri(identity.cluster, identity.id);
}

/** @throws unauthenticated if the text is not the URI of a host, a user or a name server */
export function parseIdentity(uri: string): Identity {
  const match = identityPattern.exec(uri);
  const [, cluster, host, user] = match ?? [];
  if (cluster === undefined) throw notAnIdentity(uri);
  if (host !== undefined) return { kind: 'host', cluster, id: host };
  return user === undefined ? { kind: 'name-server', cluster } : { kind: 'user', cluster, id: user };
}

/**
 * The identity that a certificate names. It must name one URI and nothing else, so that two readers cannot differ about which counts.
 * @throws unauthenticated
 */
export function identityOf(certificate: X509Certificate): Identity {
  return parseIdentity(singleUri(certificate));
}

/**
 * The cluster that an authority's certificate speaks for.
 * @throws unauthenticated
 */
export function clusterOf(authority: X509Certificate): string {
  const uri = singleUri(authority);
  const cluster = clusterPattern.exec(uri)?.[1];
  if (cluster === undefined) throw notAnIdentity(uri);
  return cluster;
}

function singleUri(certificate: X509Certificate): string {
  const names = certificate.subjectAltName ?? '';
  const uri = singleUriPattern.exec(names)?.[1];
  if (uri === undefined) throw notAnIdentity(names);
  return uri;
}

function notAnIdentity(text: string): SupercargoError {
  return new SupercargoError('unauthenticated', `The certificate is for ${JSON.stringify(text)}, which is nobody in a Supercargo cluster.`);
}
