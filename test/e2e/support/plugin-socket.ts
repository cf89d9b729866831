import { request } from 'node:http';
import type { Host } from '../../../testbed/lab.ts';

export interface PluginAnswer {
  status: number;
  text: string;
}

export interface PluginMessage {
  /** The call, for example VolumeDriver.Mount. */
  call: string;
  /** Sent as it is if it is a text or undefined (no body), as JSON otherwise. */
  body?: unknown;
  headers?: Record<string, string>;
  /** The call fails if it takes longer; default: as long as an engine waits. Milliseconds. */
  withinMilliseconds?: number;
}

const pluginSocket = '/run/docker/plugins/supercargo.sock';
const engineWaitsMilliseconds = 120_000;

/** Speaks to a host's volume plugin as an engine does: no Content-Type, one connection a call. */
export function sendToPlugin(
  host: Host,
  { call, body, headers = {}, withinMilliseconds = engineWaitsMilliseconds }: PluginMessage,
): Promise<PluginAnswer> {
  const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        socketPath: host.path(pluginSocket),
        method: 'POST',
        path: `/${call}`,
        agent: false,
        signal: AbortSignal.timeout(withinMilliseconds),
        headers: { accept: 'application/vnd.docker.plugins.v1.2+json', ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }));
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(text);
  });
}

/** The mount point, or the plugin's refusal. */
export async function mountThroughPlugin(
  host: Host,
  volume: string,
  session: string,
  withinMilliseconds = engineWaitsMilliseconds,
): Promise<{ mountPoint: string } | { refusal: string }> {
  const { status, text } = await sendToPlugin(host, { call: 'VolumeDriver.Mount', body: { Name: volume, ID: session }, withinMilliseconds });
  const document = JSON.parse(text) as { Mountpoint?: string; Err: string };
  if (status !== 200) return { refusal: document.Err };
  if (document.Mountpoint === undefined || document.Mountpoint === '') throw new Error(`a mount was answered without a mount point: ${text}`);
  return { mountPoint: document.Mountpoint };
}

export async function unmountThroughPlugin(host: Host, volume: string, session: string): Promise<void> {
  const { status, text } = await sendToPlugin(host, { call: 'VolumeDriver.Unmount', body: { Name: volume, ID: session } });
  if (status !== 200) throw new Error(`an unmount was refused: ${text}`);
}
