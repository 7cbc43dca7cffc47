import { ProxyError } from '../errors/proxy-error.js';
import type { Exchange } from '../http/exchange.js';
import { isIdempotent, type HttpRequest, type HttpResponse } from '../http/message.js';
import type { Endpoint } from './endpoint.js';

/**
 * One request on its way to one endpoint, until the head of its response is there.
 *
 * A connection that had been idle may turn out to have been closed by its peer while the request was on its way: that is
 * nobody's failure, and the request goes out once more on a new connection if that is harmless.
 */
export class Attempt {
  readonly #startedAt: number;
  #mayRace = false;

  constructor(
    private readonly endpoint: Endpoint,
    readonly request: HttpRequest,
    readonly exchange: Exchange,
    private readonly resolve: (response: HttpResponse) => void,
    private readonly reject: (reason: unknown) => void,
  ) {
    this.#startedAt = endpoint.pool.clock.now();
    exchange.attempts++;
    exchange.endpoint = endpoint.name;
  }

  start(): void {
    const idle = this.endpoint.pool.takeIdle();
    if (idle === undefined) {
      this.#startOnNew();
      return;
    }
    this.#mayRace = true;
    idle.send(this);
  }

  /** The head of the response is there. */
  respond(response: HttpResponse, now: number): void {
    this.exchange.respondedAt = now;
    this.endpoint.latency.observe(now - this.#startedAt, now);
    this.resolve(response);
  }

  /** No response will come. `nothingReceived`: not one byte of it did. */
  fail(reason: Error, nothingReceived: boolean): void {
    if (this.#mayRace && nothingReceived && this.#isKeepAliveRace(reason)) {
      this.#mayRace = false;
      this.#startOnNew();
      return;
    }
    if (reason instanceof ProxyError && reason.entry.blamesUpstream) {
      const now = this.endpoint.pool.clock.now();
      this.endpoint.latency.observeFailure(now - this.#startedAt, now);
    }
    this.reject(reason);
  }

  #startOnNew(): void {
    this.endpoint.pool.acquire(this.request.cancellation).then(
      (connection) => connection.send(this),
      (reason: unknown) => this.fail(reason as Error, true),
    );
  }

  /** RFC 9110 section 9.2.2: a request that may have been processed is sent again only if that is harmless. */
  #isKeepAliveRace(reason: Error): boolean {
    const { method, body, cancellation } = this.request;
    return reason instanceof ProxyError && reason.code === 'upstream_reset' && !cancellation.isCancelled && body.bytes !== undefined && isIdempotent(method);
  }
}
