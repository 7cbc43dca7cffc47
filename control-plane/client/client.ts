import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import type { Problem } from '../../shared/config/load.js';

/** How to reach a control plane, and who asks. */
export interface Connection {
  readonly url: string;
  /** File with a bearer token. */
  readonly tokenFile?: string | undefined;
  /** PEM file: the authorities that its certificate must come from. */
  readonly ca?: string | undefined;
  /** PEM files: the certificate to show, and its key. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

const timeoutMs = 70_000;
const connectTimeoutMs = 5_000;
const maxAnswerBytes = 64 * 1_024 * 1_024;
/** The control plane breaks off what is larger, before it could say why. */
const maxBodyBytes = 4_194_304;

/** The control plane refused, or could not be reached; the message is fit to be shown. */
export class ControlPlaneError extends Error {
  override readonly name = 'ControlPlaneError';
  constructor(
    message: string,
    /** 0: there was no answer. */
    readonly status = 0,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
  }
}

/** Talks to a control plane's API. */
export class ControlPlaneClient {
  private constructor(
    private readonly base: string,
    private readonly agent: Agent,
    private readonly token: string | undefined,
  ) {}

  static async open({ url, tokenFile, ca, cert, key }: Connection): Promise<ControlPlaneClient> {
    const base = checkUrl(url);
    const token = tokenFile === undefined ? undefined : (await read(tokenFile, '--token-file')).trim();
    const connect = {
      timeout: connectTimeoutMs,
      ...(ca !== undefined && { ca: await read(ca, '--ca') }),
      ...(cert !== undefined && { cert: await read(cert, '--cert') }),
      ...(key !== undefined && { key: await read(key, '--key') }),
    };
    return new ControlPlaneClient(base, new Agent({ maxResponseSize: maxAnswerBytes, connect }), token);
  }

  /** Resolves with the parsed answer, and rejects with a `ControlPlaneError` for any but 2xx and those of `accept`. */
  async call<T>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, accept: readonly number[] = []): Promise<T> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    if (sent !== undefined && Buffer.byteLength(sent) > maxBodyBytes) throw new ControlPlaneError(`The resources are larger than the 4 MiB that a control plane takes at once (${Buffer.byteLength(sent)} bytes): expected several calls`);
    let status: number;
    let text: string;
    try {
      const answer = await request(this.base + path, {
        method,
        dispatcher: this.agent,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        headers: { accept: 'application/json', ...(sent !== undefined && { 'content-type': 'application/json' }), ...(this.token !== undefined && { authorization: `Bearer ${this.token}` }) },
        ...(sent !== undefined && { body: sent }),
      });
      status = answer.statusCode;
      text = await answer.body.text();
    } catch (error) {
      throw new ControlPlaneError(unreachable(this.base, error));
    }
    const document = parse(text);
    if ((status >= 200 && status < 300) || accept.includes(status)) return document as T;
    const { detail, problems = [] } = (document ?? {}) as { detail?: string; problems?: Problem[] };
    throw new ControlPlaneError(`${method} ${path} was refused with ${status}: ${detail ?? 'this does not look like a control plane'}${hints[status] ?? ''}`, status, problems);
  }

  close(): Promise<void> {
    return this.agent.close();
  }
}

const hints: Readonly<Record<number, string>> = { 401: ' Name a file that holds one: --token-file FILE, or CONTROL_PLANE_TOKEN_FILE.' };

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused. Start the lab with: npm run lab -- up; or name another with --url or CONTROL_PLANE_URL',
  ENOTFOUND: 'there is no such host',
  UND_ERR_CONNECT_TIMEOUT: 'no answer in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_SOCKET: 'it broke the connection off; it may speak TLS (https://), or not',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: try http://',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of an authority that is not known: name it with --ca FILE',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is of an authority that is not known: name it with --ca FILE',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is of an authority that is not known: name it with --ca FILE',
};

function unreachable(base: string, error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return `No control plane answers at ${base}: ${reasons[code] ?? (code === '' ? message : `${code}: ${message}`)}`;
}

function checkUrl(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) throw new ControlPlaneError(`${JSON.stringify(url)} is not an address of a control plane: expected http://host:port or https://host:port`);
  const { username, password, href } = new URL(url);
  if (username !== '' || password !== '') throw new ControlPlaneError('A user in the address is not what a control plane asks for: expected --token-file FILE');
  return href.replace(/\/$/, '');
}

async function read(file: string, option: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ControlPlaneError(`${option}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`);
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
