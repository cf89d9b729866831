/** HTTP over a host's unix sockets, without a client program in between whose start would be measured too. */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Call {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  body?: object;
}

/** @throws if the status is not 2xx, with the answer's text */
export function callSocket<Answer>(socketPath: string, { method = 'GET', path, body }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const content = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      host: 'localhost',
      ...(content === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
    };
    const outgoing = request({ socketPath, method, path, headers }, (response) => {
      text(response).then((answer) => {
        const status = response.statusCode ?? 500;
        if (status >= 200 && status < 300) resolve((answer === '' ? undefined : JSON.parse(answer)) as Answer);
        else reject(new Error(`${method} ${path} was answered ${status}: ${answer}`));
      }, reject);
    });
    outgoing.on('error', reject);
    outgoing.end(content);
  });
}

interface PluginAnswer {
  Err?: string;
  Mountpoint?: string;
  Allow?: boolean;
  Msg?: string;
}

/** The calls that a container engine makes on the plugin's socket. */
export class PluginSocket {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  activate(): Promise<PluginAnswer> {
    return this.#call('/Plugin.Activate', {});
  }

  create(name: string): Promise<PluginAnswer> {
    return this.#call('/VolumeDriver.Create', { Name: name, Opts: {} });
  }

  get(name: string): Promise<PluginAnswer> {
    return this.#call('/VolumeDriver.Get', { Name: name });
  }

  async mount(name: string, session: string): Promise<string> {
    const { Mountpoint: mountPoint = '' } = await this.#call('/VolumeDriver.Mount', { Name: name, ID: session });
    if (mountPoint === '') throw new Error(`the mount of ${name} was answered without a place`);
    return mountPoint;
  }

  unmount(name: string, session: string): Promise<PluginAnswer> {
    return this.#call('/VolumeDriver.Unmount', { Name: name, ID: session });
  }

  remove(name: string): Promise<PluginAnswer> {
    return this.#call('/VolumeDriver.Remove', { Name: name });
  }

  /** What an engine asks before it does something, and tells after. @throws if it is refused */
  async authorize(question: 'AuthZReq' | 'AuthZRes', document: object): Promise<void> {
    const { Allow: allowed, Msg: message } = await this.#call(`/AuthZPlugin.${question}`, document);
    if (allowed !== true) throw new Error(`${question}: ${message}`);
  }

  async #call(path: string, body: object): Promise<PluginAnswer> {
    const answer = await callSocket<PluginAnswer>(this.#socketPath, { method: 'POST', path, body });
    if (answer.Err !== undefined && answer.Err !== '') throw new Error(`${path}: ${answer.Err}`);
    return answer;
  }
}
