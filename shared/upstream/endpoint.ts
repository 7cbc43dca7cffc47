import type { Clock } from '../clock/clock.js';
import type { EndpointConfig } from '../config/endpoints.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Service } from '../http/service.js';
import { ConnectionPool, type PoolDependencies, type PoolLimits } from './connection-pool.js';
import { EndpointHealth } from './endpoint-health.js';
import type { EndpointPool } from './endpoint-pool.js';
import { Http2Pool } from './http2/http2-pool.js';
import { NegotiatingPool } from './http2/negotiating-pool.js';
import { isKeepAliveRace } from './keep-alive-race.js';
import { PeakEwma } from './peak-ewma.js';

/** Whether requests may be sent to an endpoint, as its breaker sees it. */
export interface Gate {
  accepts(): boolean;
  state(): 'closed' | 'open' | 'half-open';
}

const alwaysOpen: Gate = { accepts: () => true, state: () => 'closed' };

/** One address of an upstream: its connections, its latency, and the layers that guard it. */
export class Endpoint {
  readonly name: string;
  readonly pool: EndpointPool;
  readonly latency: PeakEwma;
  readonly health = new EndpointHealth();
  /** Answers a request at this endpoint: its layers, then `connect`. Set by whoever knows the layers. */
  service: Service;
  /** The innermost service: sends the request over a connection of the pool. */
  readonly connect: Service;
  gate: Gate = alwaysOpen;
  onClose: (() => void) | undefined;
  readonly #clock: Clock;

  constructor(
    readonly config: EndpointConfig,
    limits: PoolLimits,
    dependencies: PoolDependencies,
  ) {
    this.#clock = dependencies.clock;
    if (limits.protocol === 'h2') {
      const pool = (this.pool = new Http2Pool(config.address, limits, dependencies));
      this.connect = this.#timed(pool.send);
    } else if (limits.protocol === 'auto') {
      const pool = (this.pool = new NegotiatingPool(config.address, limits, dependencies));
      this.connect = this.#timed(pool.send);
    } else {
      const pool = (this.pool = new ConnectionPool(config.address, limits, dependencies));
      this.connect = this.#overHttp1(pool);
    }
    this.name = this.pool.name;
    this.latency = new PeakEwma();
    this.service = this.connect;
  }

  get inFlight(): number {
    return this.pool.active + this.pool.pending;
  }

  /** Sends a request over a connection of HTTP/1.1. */
  #overHttp1(pool: ConnectionPool): Service {
    return (request, exchange) => {
      const startedAt = this.#clock.now();
      exchange.attempts++;
      exchange.endpoint = this.name;
      const responded = (response: HttpResponse): HttpResponse => {
        const at = exchange.respondedAt!;
        this.latency.observe(at - startedAt, at);
        return response;
      };
      const failed = (error: unknown): never => this.#failed(error, startedAt);
      const idle = pool.takeIdle();
      if (idle === undefined) return sendOnNew(pool, request, exchange).then(responded, failed);
      return idle.send(request, exchange).then(responded, (error: unknown) => {
        if (!isKeepAliveRace(error, request, idle.nothingReceived)) return failed(error);
        // The peer closed the idle connection while the request was on its way: that is nobody's failure.
        return sendOnNew(pool, request, exchange).then(responded, failed);
      });
    };
  }

  /** Sends a request by a pool that sees to the rest by itself. */
  #timed(send: Service): Service {
    return (request, exchange) => {
      const startedAt = this.#clock.now();
      exchange.attempts++;
      exchange.endpoint = this.name;
      return send(request, exchange).then(
        (response) => {
          const at = exchange.respondedAt!;
          this.latency.observe(at - startedAt, at);
          return response;
        },
        (error: unknown) => this.#failed(error, startedAt),
      );
    };
  }

  #failed(error: unknown, startedAt: number): never {
    if (error instanceof ProxyError && error.entry.blamesUpstream) {
      const now = this.#clock.now();
      this.latency.observeFailure(now - startedAt, now);
    }
    throw error;
  }

  close(): void {
    this.pool.close();
    this.onClose?.();
  }
}

async function sendOnNew(pool: ConnectionPool, request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
  return (await pool.acquire(request.cancellation)).send(request, exchange);
}
