import { Cancellation } from '../http/cancellation.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Clock } from './clock.js';
import { TimeoutQueue, type Expirable } from './timeout-queue.js';

/**
 * Limits the time until a promise of a response settles: at the limit what is in flight below is cancelled with
 * the error, and rejects with it. The response's body is not limited. Cancelling the request above
 * cancels what is below also later, while the body is being sent.
 */
export class TimeLimit {
  readonly #queue: TimeoutQueue;
  readonly #error: () => Error;

  constructor(clock: Clock, limitMs: number, error: () => Error) {
    this.#queue = new TimeoutQueue(clock, limitMs);
    this.#error = error;
  }

  /** Calls `start` with the request under a cancellation of its own. */
  async run(request: HttpRequest, start: (request: HttpRequest) => Promise<HttpResponse>): Promise<HttpResponse> {
    const limited = new LimitedCancellation(this.#error);
    request.cancellation.subscribe(limited);
    this.#queue.add(limited);
    try {
      return await start({ ...request, cancellation: limited });
    } finally {
      this.#queue.remove(limited);
    }
  }
}

/** The cancellation of what is limited, and its place in the queue: one object, since there is one for each request. */
class LimitedCancellation extends Cancellation implements Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;

  constructor(private readonly error: () => Error) {
    super();
  }

  onExpire(): void {
    this.cancel(this.error());
  }
}
