import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { NetworkInterfaceInfo } from 'node:os';
import { Option } from 'commander';
import { SupercargoError } from '../model/errors.ts';

/** Where the other hosts reach this one. */
export interface HostAddress {
  host: string;
  /** Undefined: the usual one. */
  port: number | undefined;
}

/** Parses HOST[:PORT], with an IPv6 address in brackets if a port follows. @throws invalid-option */
export function parseHostAddress(text: string): HostAddress {
  if (isIPv6(text)) return { host: text, port: undefined };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (host === undefined || (port !== undefined && (port < 1 || port > 65_535))) {
    throw new SupercargoError('invalid-option', `Option "--address" is not HOST[:PORT]: ${JSON.stringify(text)}.`, {
      hint: 'Write for example 10.0.0.1 or 10.0.0.1:7470.',
    });
  }
  return { host, port };
}

/** The first IPv4 address that is not the host's own loop; the loop if there is none. */
export function defaultHostAddress(interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): string {
  const addresses = Object.values(interfaces).flatMap((each) => each ?? []);
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1';
}

export function addressOption(): Option {
  const fallback = defaultHostAddress(networkInterfaces());
  return new Option('--address <host[:port]>', 'where the other hosts reach this one')
    .env('SUPERCARGO_ADDRESS')
    .argParser(parseHostAddress)
    .default({ host: fallback, port: undefined } satisfies HostAddress, fallback);
}
