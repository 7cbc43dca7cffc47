import type { Address } from '../config/units.js';
import type { Service } from '../http/service.js';
import { Attempt } from './attempt.js';
import { ConnectionPool, type PoolDependencies, type PoolLimits } from './connection-pool.js';
import { EndpointHealth } from './endpoint-health.js';
import { openStream } from './open-stream.js';
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
  /** The two of them for a connection of its own, on which no HTTP is spoken. */
  stream: Service;
  streamPastBreaker: Service;
  gate: Gate = alwaysOpen;
  onChange: (() => void) | undefined;
  onClose: (() => void) | undefined;
  /** Clock reading (ms) since when requests may be sent here without a break. */
  availableSince: number;
  #isAvailable = true;

  constructor(
    readonly address: Address,
    limits: PoolLimits,
    dependencies: PoolDependencies,
  ) {
    this.availableSince = dependencies.clock.now();
    this.pool = new ConnectionPool(address, limits, dependencies);
    this.name = this.pool.name;
    this.latency = new PeakEwma();
    this.service = this.connect;
    this.pastBreaker = this.connect;
    this.stream = this.openStream;
    this.streamPastBreaker = this.openStream;
  }

  /** Health or gate are not what they were. */
  changed(): void {
    const isAvailable = this.health.isHealthy && this.gate.state() === 'closed';
    if (isAvailable && !this.#isAvailable) this.availableSince = this.pool.clock.now();
    this.#isAvailable = isAvailable;
    this.onChange?.();
  }

  get inFlight(): number {
    return this.pool.active + this.pool.pending;
  }

  /** The innermost service: sends the request over a connection of the pool. */
  readonly connect: Service = (request, exchange) => new Promise((resolve, reject) => new Attempt(this, request, exchange, resolve, reject).start());

  /** The same for a stream: opens a connection of its own. */
  readonly openStream: Service = (request, exchange) => openStream(this, request, exchange);

  close(): void {
    this.pool.close();
    this.onClose?.();
  }
}
