import { X509Certificate, createPrivateKey, randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import type { Credentials } from './credentials.ts';

const fileName = 'identity.json';
const fileSchema = z.object({ certificatePem: z.string(), privateKeyPem: z.string(), authorities: z.array(z.string()).min(1) });

/**
 * Keeps the credentials in the directory, which only the owner may read. Key and certificate are in one file that is replaced in
 * one step, so that no crash leaves a key with another key's certificate.
 */
export async function saveCredentials(directory: string, { certificatePem, privateKeyPem, authorities }: Credentials): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const temporary = join(directory, `.${fileName}.${randomBytes(6).toString('hex')}`);
  try {
    await writeDurably(temporary, JSON.stringify({ certificatePem, privateKeyPem, authorities }));
    await rename(temporary, join(directory, fileName));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using directoryHandle = await open(directory);
  await directoryHandle.sync();
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.writeFile(text);
  await file.sync();
}

/**
 * The credentials kept in the directory, or undefined if there are none.
 * @throws wrong-state if the file is damaged
 */
export async function loadCredentials(directory: string): Promise<Credentials | undefined> {
  const path = join(directory, fileName);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const credentials = fileSchema.parse(JSON.parse(text));
    const matches = new X509Certificate(credentials.certificatePem).checkPrivateKey(createPrivateKey(credentials.privateKeyPem));
    if (matches) return credentials;
  } catch {
    // Told below, without the cause: its text may quote the key.
  }
  throw new SupercargoError('wrong-state', `The file ${path} does not hold a key and its certificate.`, {
    hint: 'Restore it from a backup, or remove it and join the cluster again.',
  });
}
