import type { Body } from '../http/body.js';
import { Cancellation } from '../http/cancellation.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import { Allowance } from './allowance.js';
import type { Clock } from './clock.js';
import { TimeoutQueue, type Expirable } from './timeout-queue.js';

/**
 * Limits the time until a promise of a response settles, without that in which the client was awaited: at the limit what is in flight below is cancelled with
 * the error, and rejects with it. The response's body is not limited. Cancelling the request above
 * cancels what is below also later, while the body is being sent.
 */
export class TimeLimit {
  readonly #queue: TimeoutQueue;
  readonly #error: (body: Body) => Error;

  /** `error`: by how much of the request's body is there at the limit. */
  constructor(
    private readonly clock: Clock,
    limitMs: number,
    error: (body: Body) => Error,
  ) {
    this.#queue = new TimeoutQueue(clock, limitMs);
    this.#error = error;
  }

  /** Calls `start` with the request under a cancellation of its own. */
  async run(request: HttpRequest, start: (request: HttpRequest) => Promise<HttpResponse>): Promise<HttpResponse> {
    const { body } = request;
    const { arrival } = body;
    const now = this.clock.now();
    const limited = new LimitedCancellation(this.#error, body, arrival && new Allowance(this.clock, arrival, now));
    request.cancellation.subscribe(limited);
    this.#queue.add(limited, now);
    try {
      return await start({ ...request, cancellation: limited });
    } finally {
      this.#queue.remove(limited);
      limited.allowance?.cancel();
    }
  }
}

/** The cancellation of what is limited, and its place in the queue: one object, since there is one for each request. */
class LimitedCancellation extends Cancellation implements Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;

  constructor(
    private readonly error: (body: Body) => Error,
    private readonly body: Body,
    readonly allowance: Allowance | undefined,
  ) {
    super();
  }

  onExpire(): void {
    if (this.allowance?.putOff(this.expiresAt, Infinity, () => this.onExpire()) === undefined) this.cancel(this.error(this.body));
  }
}
