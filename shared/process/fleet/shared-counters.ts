import type { Clock } from '../../clock/clock.js';
import { TimeoutQueue, type Expirable } from '../../clock/timeout-queue.js';
import type { Counted } from '../../policy/rate-limit/quota-windows.js';
import type { QuotaCounter } from '../../policy/rate-limit/rate-limit.js';
import type { Increment } from './messages.js';

interface Waiting {
  readonly increment: Increment;
  readonly resolve: (counted: Counted) => void;
  readonly reject: (reason: unknown) => void;
}

/** How long the front has to answer (ms). It takes well under one; after this it stands still, or is overwhelmed. */
const answerTimeoutMs = 500;

/**
 * A worker's way to the quotas that the front counts: what comes up in one turn of the event loop goes there in one message. A front that does not answer in
 * 500 ms cannot be asked, as far as those requests are concerned: what the quota says of that is done with them.
 */
export class SharedCounters implements QuotaCounter {
  #waiting: Waiting[] = [];
  readonly #asked: TimeoutQueue;

  constructor(
    private readonly ask: (increments: readonly Increment[]) => Promise<Counted[]>,
    clock: Clock,
  ) {
    this.#asked = new TimeoutQueue(clock, answerTimeoutMs);
  }

  count(scope: string, key: string, windowMs: number, maxKeys: number): Promise<Counted> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ increment: { scope, key, windowMs, maxKeys }, resolve, reject }) === 1) setImmediate(this.#send);
    });
  }

  readonly #send = (): void => {
    const batch = new Batch(this.#waiting);
    this.#waiting = [];
    this.#asked.add(batch);
    this.ask(batch.waiting.map(({ increment }) => increment)).then(
      (all) => {
        this.#asked.remove(batch);
        batch.waiting.forEach(({ resolve }, index) => resolve(all[index]!));
      },
      (reason: unknown) => {
        this.#asked.remove(batch);
        batch.fail(reason);
      },
    );
  };
}

/** What was asked in one message. An answer that comes when it has failed is nobody's any more. */
class Batch implements Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;

  constructor(readonly waiting: readonly Waiting[]) {}

  onExpire(): void {
    this.fail(new Error(`the front process has not counted ${this.waiting.length} requests in ${answerTimeoutMs} ms`));
  }

  fail(reason: unknown): void {
    for (const { reject } of this.waiting) reject(reason);
  }
}
