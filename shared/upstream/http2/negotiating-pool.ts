import type { Address } from '../../config/units.js';
import { isGrpc } from '../../grpc/content-type.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import { Attempt } from '../attempt.js';
import { ConnectionPool, type PoolDependencies, type PoolLimits } from '../connection-pool.js';
import { Dialer } from '../dialer.js';
import type { ConnectionGuard, SendingPool } from '../endpoint-pool.js';
import { Http2Pool, http2Socket } from './http2-pool.js';

/**
 * The connections to an endpoint of which it is to be found out what it speaks.
 *
 * With TLS the first connection offers both protocols, and what is chosen holds for as long as there is a connection that speaks
 * it and takes requests; then it is asked anew, so that an endpoint that was exchanged is noticed. Without TLS nothing can be asked: gRPC, which
 * knows no other, goes over HTTP/2, and everything else over HTTP/1.1.
 */
export class NegotiatingPool implements SendingPool {
  readonly name: string;
  readonly #http1: ConnectionPool;
  readonly #http2: Http2Pool;
  readonly #dialer: Dialer;
  #negotiation: Promise<void> | undefined;
  /** Requests that wait for it. */
  #negotiating = 0;
  #isHttp2 = false;
  #guard: ConnectionGuard | undefined;

  constructor(address: Address, limits: PoolLimits, dependencies: PoolDependencies) {
    this.#dialer = new Dialer(address, limits.connectTimeout, dependencies);
    this.#http1 = new ConnectionPool(address, limits, dependencies);
    this.#http2 = new Http2Pool(address, limits, dependencies, this.#dialer);
    this.name = this.#http1.name;
  }

  get active(): number {
    return this.#http1.active + this.#http2.active;
  }

  get pending(): number {
    return this.#http1.pending + this.#http2.pending + this.#negotiating;
  }

  get size(): number {
    return this.#http1.size + this.#http2.size;
  }

  get connections(): number {
    return this.#http1.connections + this.#http2.connections + this.#expected;
  }

  get queued(): number {
    return this.#http1.queued + this.#http2.queued + Math.max(0, this.#negotiating - this.#expected);
  }

  /** Connections that those who wait for the negotiation will need: where HTTP/1.1 is chosen, each has one of its own, as far as there may be so many. */
  get #expected(): number {
    if (this.#negotiating === 0 && this.#negotiation === undefined) return 0;
    return Math.max(1, Math.min(this.#negotiating, this.limits.maxConnections - this.#http1.connections - this.#http2.connections));
  }

  get guard(): ConnectionGuard | undefined {
    return this.#guard;
  }

  set guard(guard: ConnectionGuard | undefined) {
    this.#guard = guard;
    this.#http1.guard = guard;
    this.#http2.guard = guard;
  }

  get onBrokenOff(): ((exchange: Exchange) => void) | undefined {
    return this.#http1.onBrokenOff;
  }

  set onBrokenOff(callback: ((exchange: Exchange) => void) | undefined) {
    this.#http1.onBrokenOff = callback;
    this.#http2.onBrokenOff = callback;
  }

  get limits(): PoolLimits {
    return this.#http1.limits;
  }

  get hasIdle(): boolean {
    // The first connection is for those that wait for it.
    return this.#negotiating === 0 && (this.#http1.hasIdle || this.#http2.hasIdle);
  }

  serveWaiting(): void {
    this.#http1.serveWaiting();
    this.#http2.serveWaiting();
  }

  closeOldestIdle(): boolean {
    return this.#negotiating === 0 && (this.#http1.closeOldestIdle() || this.#http2.closeOldestIdle());
  }

  readonly send: Service = (request, exchange) => {
    if (!this.#dialer.isSecure) return isGrpc(request.headers) ? this.#http2.send(request, exchange) : this.#sendHttp1(request, exchange);
    const isKnown = this.#isHttp2 ? this.#http2.isInUse : this.#http1.connections > 0;
    if (isKnown) return this.#sendAsKnown(request, exchange);
    return this.#sendNegotiated(request, exchange);
  };

  close(): void {
    this.#http1.close();
    this.#http2.close();
  }

  destroy(): void {
    this.#http1.destroy();
    this.#http2.destroy();
  }

  async #sendNegotiated(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    if (this.queued >= this.limits.maxPending && this.connections >= this.limits.maxConnections) throw new ProxyError('upstream_queue_full');
    this.#negotiating++;
    try {
      await this.#negotiated(request);
    } finally {
      this.#negotiating--;
      this.#guard?.freed();
    }
    return this.#sendAsKnown(request, exchange);
  }

  /** Resolves once it is known what is spoken, or rejects with the request's cancellation. */
  #negotiated(request: HttpRequest): Promise<void> {
    this.#negotiation ??= this.#negotiate();
    const negotiation = this.#negotiation;
    return new Promise((resolve, reject) => {
      const unsubscribe = request.cancellation.onCancel(reject);
      negotiation.then(resolve, reject).finally(unsubscribe);
    });
  }

  #negotiate(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#dialer.dial(http2Socket(['h2', 'http/1.1']), {
        ready: (socket, protocol) => {
          this.#isHttp2 = protocol === 'h2';
          if (this.#isHttp2) this.#http2.adopt(socket);
          else this.#http1.adopt(socket);
          resolve();
        },
        failed: reject,
      });
    }).finally(() => (this.#negotiation = undefined));
  }

  #sendAsKnown(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    return this.#isHttp2 ? this.#http2.send(request, exchange) : this.#sendHttp1(request, exchange);
  }

  #sendHttp1(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    return new Promise((resolve, reject) => new Attempt(this.#http1, request, exchange, resolve, reject).start());
  }
}
