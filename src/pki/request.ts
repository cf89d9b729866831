import { exportPrivateKey, generateKeys, loadX509, signingAlgorithm } from './x509.ts';

export interface KeyAndRequest {
  privateKeyPem: string;
  /** PKCS #10; names nobody, because the issuer decides who the key is for. */
  requestPem: string;
}

/** Makes a key where it will be used, and a request that proves its possession. */
export async function createKeyAndRequest(): Promise<KeyAndRequest> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm });
  return { privateKeyPem: await exportPrivateKey(keys.privateKey), requestPem: request.toString('pem') };
}
