import type { Clock } from '../clock/clock.js';
import { TimeoutQueue, type Expirable } from '../clock/timeout-queue.js';
import type { Body, BodySink } from './body.js';

/** What is read of an answer that nobody wants, so that its connection can be used again; beyond it a new one is cheaper. */
const maxBytes = 16_384;
const maxMs = 1_000;

/** Gets rid of bodies: a short one is read to its end, a long or slow one takes its connection with it. */
export class Discard {
  readonly #queue: TimeoutQueue;

  constructor(clock: Clock) {
    this.#queue = new TimeoutQueue(clock, maxMs);
  }

  discard(body: Body): void {
    if (body.whole !== undefined) return;
    if (body.length !== undefined && body.length > maxBytes) body.cancel(dropped);
    else body.pipe(new Discarded(body, this.#queue));
  }
}

const dropped = new Error('the answer was dropped for another attempt');

class Discarded implements BodySink, Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;
  #bytes = 0;

  constructor(
    private readonly body: Body,
    private readonly queue: TimeoutQueue,
  ) {
    queue.add(this);
  }

  chunk(data: Buffer): boolean {
    this.#bytes += data.length;
    if (this.#bytes > maxBytes) {
      this.queue.remove(this);
      this.body.cancel(dropped);
    }
    return true;
  }

  end(): void {
    this.queue.remove(this);
  }

  fail(): void {
    this.queue.remove(this);
  }

  onExpire(): void {
    this.body.cancel(dropped);
  }
}
