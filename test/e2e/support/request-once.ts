/** A program for a host of a lab: sends the one request that standard input describes, as options of `https.request`, and prints what came of it. */
import http from 'node:http';
import https from 'node:https';
import { json } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';

export interface RequestOutcome {
  /** The status of the answer, or "refused: …" without one. */
  outcome: string;
  /** Serial number of the certificate that the server showed. */
  serial?: string;
}

const { body, ...options } = (await json(process.stdin)) as https.RequestOptions & { body?: string };
const client = options.protocol === 'http:' ? http : https;
const outgoing = client.request({ ...options, agent: false });
outgoing.on('response', (response) => {
  const serial = (response.socket as Partial<TLSSocket>).getPeerX509Certificate?.()?.serialNumber;
  report({ outcome: String(response.statusCode), ...(serial === undefined ? {} : { serial }) });
  response.destroy();
});
outgoing.on('error', (error: NodeJS.ErrnoException) => report({ outcome: `refused: ${error.code ?? error.message}` }));
outgoing.end(body);

let reported = false;
function report(outcome: RequestOutcome): void {
  if (!reported) process.stdout.write(JSON.stringify(outcome));
  reported = true;
}
