import { TimeoutExceeded } from '../errors/timeout-exceeded.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { ConnectionPool } from './connection-pool.js';
import { isKeepAliveRace } from './keep-alive-race.js';
import { learnFromAnswer, learnFromFailure, withoutSending } from './latency-lessons.js';
import type { PeakEwma } from './peak-ewma.js';

/** How often a request may find its connection closed before that is taken for the endpoint's failure. */
const maxRaces = 10;

/**
 * One request on its way to one endpoint, until the head of its response is there.
 *
 * A connection that has carried an exchange may turn out to have been closed by its peer while the request was on its way: that is
 * nobody's failure, and the request goes out once more if that is harmless. With a line for connections the next one may have been used as
 * well, so that it is done a few times at most.
 */
export class Attempt {
  /** Clock reading (ms) without the time in which its client sent it. */
  readonly #startedAt: number;
  /** Clock reading (ms) at which the endpoint got it, a connection that had to be made included; `Infinity` in line. */
  #sentAt: number;
  #mayRace = false;
  #races = 0;

  constructor(
    private readonly pool: ConnectionPool,
    readonly request: HttpRequest,
    readonly exchange: Exchange,
    private readonly resolve: (response: HttpResponse) => void,
    private readonly reject: (reason: unknown) => void,
    /** Learns how long the endpoint takes, if that is not seen to elsewhere. */
    private readonly latency?: PeakEwma,
  ) {
    this.#sentAt = pool.clock.now();
    this.#startedAt = withoutSending(request, this.#sentAt);
    latency?.began(this.#sentAt);
  }

  start(): void {
    const idle = this.pool.takeIdle();
    if (idle === undefined) {
      this.#acquire();
      return;
    }
    this.#mayRace = true;
    idle.send(this);
  }

  /** The head of the response is there. */
  respond(response: HttpResponse, now: number): void {
    this.exchange.respondedAt = now;
    if (this.latency !== undefined) {
      learnFromAnswer(this.latency, this.request, response.status >= 500, this.#startedAt, now);
      this.latency.ended();
    }
    this.resolve(response);
  }

  /** No response will come. `nothingReceived`: not one byte of it did. */
  fail(reason: Error, nothingReceived: boolean): void {
    if (this.#mayRace && this.#races < maxRaces && isKeepAliveRace(reason, this.request, nothingReceived)) {
      this.#races++;
      this.#acquire();
      return;
    }
    const failure = reason instanceof TimeoutExceeded ? reason.ofAttempt(this.#sentAt, this.request) : reason;
    if (this.latency !== undefined) {
      learnFromFailure(this.latency, this.request, failure, this.#sentAt === Infinity ? Infinity : this.#startedAt, this.pool.clock.now());
      this.latency.ended();
    }
    this.reject(failure);
  }

  /** Sends it on a new connection, or on the next one that becomes free. */
  #acquire(): void {
    this.#mayRace = false;
    const { pool } = this;
    const acquiring = pool.acquire(this.request.cancellation, this.request.isHedge !== true);
    // Or others do, behind whom it would have to wait.
    const waits = pool.queued > 0;
    if (waits) this.#sentAt = Infinity;
    acquiring.then(
      (connection) => {
        if (waits) this.#sentAt = pool.clock.now();
        this.#mayRace = connection.isUsed;
        connection.send(this);
      },
      (reason: unknown) => this.fail(reason as Error, true),
    );
  }
}
