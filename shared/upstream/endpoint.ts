import type { Clock } from '../clock/clock.js';
import type { Address } from '../config/units.js';
import { TimeoutExceeded } from '../errors/timeout-exceeded.js';
import { isServerFault } from '../grpc/status.js';
import type { HttpRequest } from '../http/message.js';
import type { Service } from '../http/service.js';
import { Attempt } from './attempt.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { ConnectionPool, type PoolDependencies, type PoolLimits } from './connection-pool.js';
import { EndpointHealth } from './endpoint-health.js';
import type { EndpointPool } from './endpoint-pool.js';
import { Http2Pool } from './http2/http2-pool.js';
import { NegotiatingPool } from './http2/negotiating-pool.js';
import { learnFromAnswer, learnFromFailure, withoutSending } from './latency-lessons.js';
import { openStream } from './open-stream.js';
import { PeakEwma } from './peak-ewma.js';

/** Whether requests may be sent to an endpoint, as its breaker sees it. */
export interface Gate {
  /** `isWhole`: of a request with nothing of its body still to come. */
  accepts(isWhole?: boolean): boolean;
  state(): 'closed' | 'open' | 'half-open';
}

const alwaysOpen: Gate = { accepts: () => true, state: () => 'closed' };

/** One address of an upstream: its connections, its latency, and the layers that guard it. */
export class Endpoint {
  readonly name: string;
  /** How TLS is spoken to it, if it is. */
  readonly credentials: TlsClient | undefined;
  readonly pool: EndpointPool;
  /** Where connections are made that no HTTP is spoken on. */
  readonly streams: ConnectionPool;
  readonly latency: PeakEwma;
  readonly health = new EndpointHealth(() => this.changed());
  /** Answers a request at this endpoint: its layers, then `connect`. Set by whoever knows the layers. */
  service: Service;
  /** The innermost service: sends the request over a connection of the pool. */
  readonly connect: Service;
  /** Both of them for a connection of its own, on which no HTTP is spoken. */
  readonly openStream: Service;
  stream: Service;
  gate: Gate = alwaysOpen;
  onChange: (() => void) | undefined;
  onClose: (() => void) | undefined;
  /** Clock reading (ms) since when requests may be sent here without a break. */
  availableSince: number;
  #isAvailable = true;
  #isClosed = false;
  readonly #clock: Clock;

  constructor(
    readonly address: Address,
    limits: PoolLimits,
    dependencies: PoolDependencies,
  ) {
    this.availableSince = dependencies.clock.now();
    this.#clock = dependencies.clock;
    this.credentials = dependencies.credentials;
    if (limits.protocol === 'h2') {
      const pool = (this.pool = new Http2Pool(address, limits, dependencies));
      this.connect = this.#timed(pool.send);
    } else if (limits.protocol === 'auto') {
      const pool = (this.pool = new NegotiatingPool(address, limits, dependencies));
      this.connect = this.#timed(pool.send);
    } else {
      const pool = (this.pool = new ConnectionPool(address, limits, dependencies));
      this.connect = (request, exchange) => {
        exchange.attempts++;
        exchange.endpoint = this.name;
        return new Promise((resolve, reject) => new Attempt(pool, request, exchange, resolve, reject, this.latency).start());
      };
    }
    this.name = this.pool.name;
    this.latency = new PeakEwma();
    this.service = this.connect;
    this.streams = this.pool instanceof ConnectionPool ? this.pool : new ConnectionPool(address, limits, dependencies);
    this.openStream = this.#timed((request, exchange) => openStream(this.streams, request, exchange));
    this.stream = this.openStream;
  }

  /** Health or gate are not what they were. */
  changed(): void {
    const isAvailable = this.health.isHealthy && this.gate.state() === 'closed';
    if (isAvailable && !this.#isAvailable) this.availableSince = this.#clock.now();
    this.#isAvailable = isAvailable;
    this.onChange?.();
  }

  /** Exchanges and streams in progress. */
  get active(): number {
    return this.pool.active + (this.#ofStreams?.active ?? 0);
  }

  /** Requests that wait for a connection. */
  get pending(): number {
    return this.pool.pending + (this.#ofStreams?.pending ?? 0);
  }

  /** Those that are open. */
  get connections(): number {
    return this.pool.size + (this.#ofStreams?.size ?? 0);
  }

  get inFlight(): number {
    return this.active + this.pending;
  }

  /** The connections of streams, where those of HTTP are made elsewhere. */
  get #ofStreams(): ConnectionPool | undefined {
    return this.streams === this.pool ? undefined : this.streams;
  }

  /** Sends by a pool that sees to the rest by itself. */
  #timed(send: Service): Service {
    return (request, exchange) => {
      const sentAt = this.#clock.now();
      const startedAt = withoutSending(request, sentAt);
      exchange.attempts++;
      exchange.endpoint = this.name;
      this.latency.began(sentAt);
      const sending = send(request, exchange);
      // Or others do, behind whom it would have to wait.
      const waits = this.pool.queued > 0;
      return sending.then(
        (response) => {
          learnFromAnswer(this.latency, request, isServerFault(response), startedAt, exchange.respondedAt!);
          this.latency.ended();
          return response;
        },
        (error: unknown) => this.#failed(error instanceof TimeoutExceeded ? error.ofAttempt(waits ? Infinity : sentAt, request) : error, request, waits ? Infinity : startedAt),
      );
    };
  }

  #failed(error: unknown, request: HttpRequest, startedAt: number): never {
    learnFromFailure(this.latency, request, error, startedAt, this.#clock.now());
    this.latency.ended();
    throw error;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.pool.close();
    this.onClose?.();
  }
}
