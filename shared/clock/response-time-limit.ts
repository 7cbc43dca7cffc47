import type { Cancellation } from '../http/cancellation.js';
import type { Exchange } from '../http/exchange.js';
import type { Clock } from './clock.js';
import { TimeoutQueue, type Expirable } from './timeout-queue.js';

/**
 * Limits the time until the answer to an exchange starts: at the limit everything that goes on for it is cancelled with the
 * error. An answer that has started is not limited.
 *
 * `TimeLimit` does this for any part of the way, with a cancellation and a promise of its own for each. Nearly every
 * request has a limit on the whole of it, and nearly none meets it: here that costs a place in a queue until the exchange is over.
 */
export class ResponseTimeLimit {
  readonly #queue: TimeoutQueue;
  readonly #error: () => Error;

  constructor(clock: Clock, limitMs: number, error: () => Error) {
    this.#queue = new TimeoutQueue(clock, limitMs);
    this.#error = error;
  }

  /** `cancellation` stops what goes on for the exchange; `now` is the clock's reading. */
  start(exchange: Exchange, cancellation: Cancellation, now: number): void {
    const entry = new Entry(exchange, cancellation, this.#error);
    exchange.responseLimit = entry;
    this.#queue.add(entry, now);
    exchange.onFinish(this.#stop);
  }

  readonly #stop = (exchange: Exchange): void => {
    if (exchange.responseLimit !== undefined) this.#queue.remove(exchange.responseLimit);
  };
}

class Entry implements Expirable {
  next: Expirable | undefined = undefined;
  previous: Expirable | undefined = undefined;
  expiresAt = 0;

  constructor(
    private readonly exchange: Exchange,
    private readonly cancellation: Cancellation,
    private readonly error: () => Error,
  ) {}

  onExpire(): void {
    if (this.exchange.status === 0) this.cancellation.cancel(this.error());
  }
}
