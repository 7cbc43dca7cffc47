import type { EndpointConfig } from '../config/endpoints.js';
import type { Service } from '../http/service.js';
import { Attempt } from './attempt.js';
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
  readonly health = new EndpointHealth();
  /** Answers a request at this endpoint: its layers, then `connect`. Set by whoever knows the layers. */
  service: Service;
  gate: Gate = alwaysOpen;
  onClose: (() => void) | undefined;

  constructor(
    readonly config: EndpointConfig,
    limits: PoolLimits,
    dependencies: PoolDependencies,
  ) {
    this.pool = new ConnectionPool(config.address, limits, dependencies);
    this.name = this.pool.name;
    this.latency = new PeakEwma();
    this.service = this.connect;
  }

  get inFlight(): number {
    return this.pool.active + this.pool.pending;
  }

  /** The innermost service: sends the request over a connection of the pool. */
  readonly connect: Service = (request, exchange) => new Promise((resolve, reject) => new Attempt(this, request, exchange, resolve, reject).start());

  close(): void {
    this.pool.close();
    this.onClose?.();
  }
}
