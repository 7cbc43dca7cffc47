import type { BulkheadConfig } from '../config/health.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Body, BodySink } from '../http/body.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Layer, Service } from '../http/service.js';
import { endOfWait } from './end-of-wait.js';
import type { ConnectionGuard, EndpointPool } from './endpoint-pool.js';

/** What a bulkhead needs of the connections to an endpoint. */
type GuardedPool = Pick<EndpointPool, 'limits' | 'connections' | 'queued' | 'hasIdle' | 'serveWaiting' | 'closeOldestIdle' | 'guard'>;

interface Waiting {
  readonly pool: GuardedPool;
  /** Whether a connection that is idle would do. */
  readonly takesIdle: boolean;
  /** Sends it, and so takes its place, before it returns. */
  readonly go: () => void;
}

export type BulkheadLimit = 'requests' | 'pending' | 'retries';

/**
 * Limits what all endpoints of an upstream are asked together, as the thresholds of Envoy's circuit breakers do.
 *
 * It stands in front of each endpoint's own layers. An attempt counts from the choice of its endpoint until the answer is over, body
 * included. One that finds an idle connection passes after two comparisons. One that does not looks at all endpoints: at
 * `maxConnections` the connection that was idle longest elsewhere makes room for it, and without such a one it waits here. The end of an
 * attempt frees nothing by itself, since what it used may be free only a moment later: the pools tell when a connection is idle, gone or
 * has room again, and then whoever in the line finds what it needs is sent, in the order in which they came. A pool whose connections
 * carry less than it promised asks before it makes more.
 */
export class Bulkhead {
  #requests = 0;
  #retries = 0;
  readonly #pools = new Set<GuardedPool>();
  /** Those of them whose endpoints are gone: they count until nothing is left of them. */
  readonly #leaving = new Set<GuardedPool>();
  readonly #line: Waiting[] = [];
  readonly #guard: ConnectionGuard = {
    mayConnect: () => {
      const may = this.#mayConnect();
      this.#hasRefused ||= !may;
      return may;
    },
    freed: () => this.#freed(),
  };
  /** A pool was refused a connection that requests in its own line wait for. */
  #hasRefused = false;
  #isMakingRoom = false;
  #isWoken = false;
  readonly #maxRequests: number;
  readonly #maxConnections: number;
  readonly #maxRetries: number;

  constructor(
    /** Of which limits these are; what is bound to them is made anew with others. */
    readonly key: string,
    private readonly config: BulkheadConfig,
    private readonly onRefusal: (limit: BulkheadLimit) => void = () => {},
  ) {
    this.#maxRequests = config.maxRequests ?? Infinity;
    this.#maxConnections = config.maxConnections ?? Infinity;
    this.#maxRetries = config.maxRetries ?? Infinity;
  }

  /** Attempts in progress, those that wait included. */
  get requests(): number {
    return this.#requests;
  }

  get retries(): number {
    return this.#retries;
  }

  /** Connections, open or being made. */
  get connections(): number {
    let total = 0;
    for (const pool of this.#pools) total += pool.connections;
    return total;
  }

  /** Requests that wait for a connection, here or in the line of an endpoint. */
  get pending(): number {
    let total = this.#line.length;
    for (const pool of this.#pools) total += pool.queued;
    return total;
  }

  /** Takes a place for a retry, if there is one; `leaveRetry` gives it back. */
  enterRetry(): boolean {
    if (this.#retries >= this.#maxRetries) {
      this.onRefusal('retries');
      return false;
    }
    this.#retries++;
    return true;
  }

  leaveRetry(): void {
    this.#retries--;
  }

  /**
   * Stands in front of one endpoint, whose connections count for as long as there are any, also after `close`: `layer` in front of
   * requests, `streamLayer` in front of those that take a connection of their own, which may be of another pool.
   */
  guard(pool: GuardedPool, streams: GuardedPool = pool): { readonly layer: Layer; readonly streamLayer: Layer; close(): void } {
    const pools = new Set([pool, streams]);
    for (const each of pools) {
      this.#pools.add(each);
      each.guard = this.#guard;
    }
    return {
      layer: this.#layer(pool, true),
      streamLayer: this.#layer(streams, false),
      close: () => {
        for (const each of pools) this.#release(each);
      },
    };
  }

  #layer(pool: GuardedPool, takesIdle: boolean): Layer {
    const pass = this.#pass.bind(this, pool, takesIdle);
    return (next) =>
      function bulkhead(request, exchange) {
        return pass(next, request, exchange);
      };
  }

  async #pass(pool: GuardedPool, takesIdle: boolean, next: Service, request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    if (this.#requests >= this.#maxRequests) throw this.#refuse('requests');
    const hasIdle = takesIdle && pool.hasIdle;
    const mustWait = !hasIdle && !this.#hasRoom(pool);
    if (!hasIdle && (mustWait || isFull(pool))) {
      if (request.isHedge === true) throw new ProxyError('upstream_overloaded');
      if (this.pending >= this.config.maxPending) throw this.#refuse('pending');
    }
    this.#requests++;
    let response: HttpResponse;
    try {
      response = await (mustWait ? this.#wait(pool, takesIdle, next, request, exchange) : next(request, exchange));
    } catch (error) {
      this.#leave();
      throw error;
    }
    // A body that is here whole has left the upstream.
    if (response.body.whole !== undefined && response.tunnel === undefined) {
      this.#leave();
      return response;
    }
    const body = new LeasedBody(response.body, () => this.#leave());
    // Whatever becomes of it, with the exchange it is over; a tunnel is over only then.
    exchange.onFinish(() => body.release());
    return response.tunnel === undefined ? { ...response, body } : response;
  }

  /** Whether a request that needs a new connection may make one, or wait in its endpoint's own line. */
  #hasRoom(pool: GuardedPool): boolean {
    return isFull(pool) || this.#mayConnect();
  }

  #mayConnect(): boolean {
    // What is closed to make room for one is not for whoever hears of it first.
    if (this.#isMakingRoom) return false;
    if (this.connections < this.#maxConnections) return true;
    this.#isMakingRoom = true;
    const hasClosed = this.#closeOneIdle();
    this.#isMakingRoom = false;
    return hasClosed;
  }

  #closeOneIdle(): boolean {
    for (const pool of this.#pools) if (pool.closeOldestIdle()) return true;
    return false;
  }

  #wait(pool: GuardedPool, takesIdle: boolean, next: Service, request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    const send = async (): Promise<HttpResponse> => next(request, exchange);
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        pool,
        takesIdle,
        go: () => {
          unsubscribe();
          resolve(send());
        },
      };
      this.#line.push(waiting);
      const unsubscribe = request.cancellation.onCancel((reason) => {
        const index = this.#line.indexOf(waiting);
        if (index !== -1) this.#line.splice(index, 1);
        reject(endOfWait(reason));
      });
    });
  }

  #release(pool: GuardedPool): void {
    this.#leaving.add(pool);
    this.#freed();
  }

  #forgetLeft(): void {
    for (const pool of this.#leaving) {
      if (pool.connections > 0 || pool.queued > 0 || this.#line.some((waiting) => waiting.pool === pool)) continue;
      this.#leaving.delete(pool);
      this.#pools.delete(pool);
      pool.guard = undefined;
    }
  }

  /** Looks at the line once whoever tells of it is done: room that was made for a request is not for another. */
  #freed(): void {
    if (this.#leaving.size > 0) this.#forgetLeft();
    if (this.#isWoken || (this.#line.length === 0 && !this.#hasRefused)) return;
    this.#isWoken = true;
    queueMicrotask(this.#serve);
  }

  readonly #serve = (): void => {
    this.#isWoken = false;
    if (this.#hasRefused) this.#serveRefused();
    let mayConnect = true;
    for (let index = 0; index < this.#line.length; ) {
      const { pool, takesIdle, go } = this.#line[index]!;
      if ((takesIdle && pool.hasIdle) || isFull(pool) || (mayConnect &&= this.#mayConnect())) {
        this.#line.splice(index, 1);
        go();
      } else {
        index++;
      }
    }
  };

  #serveRefused(): void {
    this.#hasRefused = false;
    for (const pool of this.#pools) pool.serveWaiting();
  }

  #leave(): void {
    this.#requests--;
  }

  #refuse(limit: BulkheadLimit): ProxyError {
    this.onRefusal(limit);
    return new ProxyError('upstream_overloaded', { fields: { 'Retry-After': '1' } });
  }
}

/** Whether a request would wait in the endpoint's own line. */
function isFull({ connections, limits }: GuardedPool): boolean {
  return connections >= limits.maxConnections;
}

/** A body that tells, once, when nothing more of it will come. */
class LeasedBody implements Body {
  readonly length: number | undefined;
  readonly whole = undefined;
  #isReleased = false;

  constructor(
    private readonly inner: Body,
    private readonly onRelease: () => void,
  ) {
    this.length = inner.length;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.onRelease();
  }

  pipe(sink: BodySink): void {
    this.inner.pipe({
      chunk: (data) => sink.chunk(data),
      end: (trailers) => {
        this.release();
        sink.end(trailers);
      },
      fail: (reason) => {
        this.release();
        sink.fail(reason);
      },
    });
  }

  resume(): void {
    this.inner.resume();
  }

  cancel(reason: Error): void {
    this.inner.cancel(reason);
    this.release();
  }
}
