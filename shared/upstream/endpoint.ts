import type { Clock } from '../clock/clock.js';
import type { Address } from '../config/units.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Exchange } from '../http/exchange.js';
import { isIdempotent, type HttpRequest, type HttpResponse } from '../http/message.js';
import type { Service } from '../http/service.js';
import { ConnectionPool, type PoolDependencies, type PoolLimits } from './connection-pool.js';
import { EndpointHealth } from './endpoint-health.js';
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
  readonly pool: ConnectionPool;
  readonly latency: PeakEwma;
  readonly health = new EndpointHealth(() => this.changed());
  /** Answers a request at this endpoint: its layers, then `connect`. Set by whoever knows the layers. */
  service: Service;
  /** The same without the breaker, for when so many are cut out that it is better to try than to spare. */
  pastBreaker: Service;
  gate: Gate = alwaysOpen;
  onChange: (() => void) | undefined;
  onClose: (() => void) | undefined;
  /** Clock reading (ms) since when requests may be sent here without a break. */
  availableSince: number;
  #isAvailable = true;
  readonly #clock: Clock;

  constructor(
    readonly address: Address,
    limits: PoolLimits,
    dependencies: PoolDependencies,
  ) {
    this.#clock = dependencies.clock;
    this.availableSince = this.#clock.now();
    this.pool = new ConnectionPool(address, limits, dependencies);
    this.name = this.pool.name;
    this.latency = new PeakEwma();
    this.service = this.connect;
    this.pastBreaker = this.connect;
  }

  /** Health or gate are not what they were. */
  changed(): void {
    const isAvailable = this.health.isHealthy && this.gate.state() === 'closed';
    if (isAvailable && !this.#isAvailable) this.availableSince = this.#clock.now();
    this.#isAvailable = isAvailable;
    this.onChange?.();
  }

  get inFlight(): number {
    return this.pool.active + this.pool.pending;
  }

  /** The innermost service: sends the request over a connection of the pool. */
  readonly connect: Service = (request, exchange) => {
    const startedAt = this.#clock.now();
    exchange.attempts++;
    exchange.endpoint = this.name;
    const responded = (response: HttpResponse): HttpResponse => {
      const at = exchange.respondedAt!;
      this.latency.observe(at - startedAt, at);
      return response;
    };
    const failed = (error: unknown): never => {
      if (error instanceof ProxyError && error.entry.blamesUpstream) {
        const now = this.#clock.now();
        this.latency.observeFailure(now - startedAt, now);
      }
      throw error;
    };
    const idle = this.pool.takeIdle();
    if (idle === undefined) return this.#sendOnNew(request, exchange).then(responded, failed);
    return idle.send(request, exchange).then(responded, (error: unknown) => {
      if (!isKeepAliveRace(error, request, idle.nothingReceived)) return failed(error);
      // The peer closed the idle connection while the request was on its way: that is nobody's failure.
      return this.#sendOnNew(request, exchange).then(responded, failed);
    });
  };

  async #sendOnNew(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    return (await this.pool.acquire(request.cancellation)).send(request, exchange);
  }

  close(): void {
    this.pool.close();
    this.onClose?.();
  }
}

/** RFC 9110 section 9.2.2: a request that may have been processed is sent again only if that is harmless. */
function isKeepAliveRace(error: unknown, request: HttpRequest, nothingReceived: boolean): boolean {
  return (
    error instanceof ProxyError &&
    error.code === 'upstream_reset' &&
    nothingReceived &&
    !request.cancellation.isCancelled &&
    request.body.bytes !== undefined &&
    isIdempotent(request.method)
  );
}
