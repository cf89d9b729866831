import type * as x509 from '@peculiar/x509';
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';

/** ECDSA on P-256 everywhere: small, fast to sign, and every TLS 1.3 implementation has it. */
export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
export const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;

/**
 * The library that writes certificates and requests. It costs 150 ms and 22 MB, so it is loaded by those who write one, when they do.
 */
export async function loadX509(): Promise<X509Library> {
  await import('reflect-metadata'); // the library looks for it when it is loaded
  return import('@peculiar/x509');
}

export type X509Library = typeof x509;

export function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
}

export async function exportPrivateKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' }).toString();
}

export function importPrivateKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, keyAlgorithm, false, ['sign']);
}

export function importPublicKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPublicKey(pem).export({ format: 'der', type: 'spki' });
  return webcrypto.subtle.importKey('spki', der, keyAlgorithm, true, ['verify']);
}
