import type { Cancellation } from '../http/cancellation.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest } from '../http/message.js';
import { Allowance } from './allowance.js';
import type { Clock } from './clock.js';
import { TimeoutQueue, type Expirable } from './timeout-queue.js';

/**
 * Limits the time until the answer to an exchange starts, without that in which its client was awaited: at the limit everything that
 * goes on for it is cancelled with the error. An answer that has started is not limited.
 *
 * `TimeLimit` does this for any part of the way, with a cancellation and a promise of its own for each. Nearly every
 * request has a limit on the whole of it, and nearly none meets it: here that costs a place in a queue until the exchange is over.
 */
export class ResponseTimeLimit {
  readonly #queue: TimeoutQueue;
  /** `startedAt`: clock reading (ms) at which the time began. */
  readonly #error: (startedAt: number) => Error;

  constructor(
    private readonly clock: Clock,
    limitMs: number,
    error: (startedAt: number) => Error,
  ) {
    this.#queue = new TimeoutQueue(clock, limitMs);
    this.#error = error;
  }

  /** Cancelling the request stops what goes on for the exchange; `now` is the clock's reading. */
  start(exchange: Exchange, { cancellation, body }: HttpRequest, now: number): void {
    const allowance = body.arrival === undefined ? undefined : new Allowance(this.clock, body.arrival, now);
    const limit = new ResponseLimit(this, exchange, cancellation, allowance);
    exchange.responseLimit = limit;
    this.#queue.add(limit, now);
    exchange.onFinish(this.#stop);
  }

  errorOf({ expiresAt }: ResponseLimit): Error {
    return this.#error(expiresAt - this.#queue.durationMs);
  }

  readonly #stop = ({ responseLimit }: Exchange): void => {
    if (responseLimit === undefined) return;
    this.#queue.remove(responseLimit);
    responseLimit.allowance?.cancel();
  };
}

/** The limit of one exchange, and its place in the queue. */
export class ResponseLimit implements Expirable {
  next: Expirable | undefined = undefined;
  previous: Expirable | undefined = undefined;
  expiresAt = 0;

  constructor(
    private readonly of: ResponseTimeLimit,
    private readonly exchange: Exchange,
    private readonly cancellation: Cancellation,
    readonly allowance: Allowance | undefined,
  ) {}

  /** Brings the exchange's deadline up to date: for how long its client was awaited is known better by now. */
  correctDeadline(now: number): void {
    const { exchange, allowance } = this;
    if (allowance !== undefined) exchange.deadlineAt = allowance.until(this.expiresAt, exchange.callerGivesUpAt ?? Infinity, now);
  }

  onExpire(): void {
    const { exchange, allowance } = this;
    if (exchange.status !== 0) return;
    const until = allowance?.putOff(this.expiresAt, exchange.callerGivesUpAt ?? Infinity, () => this.onExpire());
    if (until === undefined) this.cancellation.cancel(this.of.errorOf(this));
    else exchange.deadlineAt = until;
  }
}
