import { Agent as PlainAgent, request as requestPlain, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as TlsAgent, request as requestTls } from 'node:https';
import type { Clock, Timer } from '../clock/clock.js';
import { KeptBytes } from '../http/kept-bytes.js';

export interface Asked {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends what is under way, the answer's body too; its reason is what it fails with. */
  readonly signal: AbortSignal;
  /** PEM, for https: whom to believe (default: the authorities that Node.js comes with), and what to show. */
  readonly tls?: { readonly ca?: string | Buffer; readonly cert?: string | Buffer; readonly key?: string | Buffer };
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** As it arrives. Fails when the connection breaks before the end. */
  readonly pieces: AsyncIterable<Buffer>;
  /** The whole body in UTF-8; fails when it is longer than so many bytes. */
  text(maxBytes: number): Promise<string>;
  /** Reads what is left for nobody, so that the connection can be used again. */
  discard(): void;
}

interface HttpClientLimits {
  /** Until there is a connection, TLS and all (ms). An address that takes none is told so sooner than one that takes its time to answer. Default: 2 s. */
  readonly connectTimeoutMs?: number;
  /** Until the head of the answer is there (ms). Default: 10 s. */
  readonly answerTimeoutMs?: number;
}

const idleMs = 10_000;

/**
 * For what a proxy asks beside its data path: its control plane, issuers of tokens. Follows no redirects; verifies https.
 *
 * On node:http, which is loaded already. A sidecar runs beside every instance, and a client that can do more, undici or the fetch that is
 * built on it, took 20 MB of each.
 */
export class HttpClient {
  readonly #plain = new PlainAgent({ keepAlive: true, timeout: idleMs });
  readonly #tls = new TlsAgent({ keepAlive: true, timeout: idleMs });
  readonly #clock: Clock;
  readonly #limits: Required<HttpClientLimits>;

  constructor(clock: Clock, { connectTimeoutMs = 2_000, answerTimeoutMs = 10_000 }: HttpClientLimits = {}) {
    this.#clock = clock;
    this.#limits = { connectTimeoutMs, answerTimeoutMs };
  }

  /** Resolves with the head of any answer, whose body is to be read; rejects when there is none. */
  ask(url: string, { method = 'GET', headers = {}, body, signal, tls }: Asked): Promise<Answered> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const isTls = new URL(url).protocol === 'https:';
      const request = isTls ? requestTls(url, { method, headers, agent: this.#tls, ...tls }) : requestPlain(url, { method, headers, agent: this.#plain });
      let answer: IncomingMessage | undefined;
      const abort = (): void => void (answer ?? request).destroy(signal.reason as Error);
      signal.addEventListener('abort', abort, { once: true });
      const { answerTimeoutMs } = this.#limits;
      const timers = [this.#limitConnecting(request, isTls), this.#clock.after(answerTimeoutMs, () => request.destroy(new Error(`no answer within ${answerTimeoutMs} ms`)))];
      const stopTimers = (): void => timers.forEach((timer) => timer.cancel());
      request
        .on('error', reject)
        .once('response', (message) => {
          stopTimers();
          // Whoever reads it hears of it too.
          answer = message.on('error', () => {});
          resolve(answered(message));
        })
        // Nobody asked for another protocol: what comes over it is no answer.
        .once('upgrade', (message, socket) => {
          reject(new Error(`the answer is ${message.statusCode}, which nobody asked for`));
          socket.destroy();
        })
        .once('close', () => {
          stopTimers();
          // Whatever ended it: whoever asked is waiting.
          reject(new Error('the connection has ended without an answer'));
          signal.removeEventListener('abort', abort);
        })
        .end(body);
    });
  }

  /** Closes all connections, whatever they are doing. */
  close(): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }

  #limitConnecting(request: ClientRequest, isTls: boolean): Timer {
    const { connectTimeoutMs } = this.#limits;
    const timer = this.#clock.after(connectTimeoutMs, () => request.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)));
    request.once('socket', (socket) => {
      if (!socket.connecting) timer.cancel();
      else socket.once(isTls ? 'secureConnect' : 'connect', () => timer.cancel());
    });
    return timer;
  }
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function answered(message: IncomingMessage): Answered {
  return {
    status: message.statusCode!,
    headers: message.headers,
    pieces: message,
    async text(maxBytes) {
      const kept = new KeptBytes();
      for await (const piece of message as AsyncIterable<Buffer>) {
        kept.add(piece);
        if (kept.length > maxBytes) throw new Error(`the answer has more than ${maxBytes} bytes`);
      }
      return kept.join().toString('utf8');
    },
    discard: () => void message.resume(),
  };
}
