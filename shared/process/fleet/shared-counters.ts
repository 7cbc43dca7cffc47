import type { Counted } from '../../policy/rate-limit/quota-windows.js';
import type { QuotaCounter } from '../../policy/rate-limit/rate-limit.js';
import type { Increment } from './messages.js';

interface Waiting {
  readonly increment: Increment;
  readonly resolve: (counted: Counted) => void;
  readonly reject: (reason: unknown) => void;
}

/** A worker's way to the quotas that the front counts: what comes up in one turn of the event loop goes there in one message. */
export class SharedCounters implements QuotaCounter {
  #waiting: Waiting[] = [];

  constructor(private readonly ask: (increments: readonly Increment[]) => Promise<Counted[]>) {}

  count(scope: string, key: string, windowMs: number, maxKeys: number): Promise<Counted> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ increment: { scope, key, windowMs, maxKeys }, resolve, reject }) === 1) setImmediate(this.#send);
    });
  }

  readonly #send = (): void => {
    const batch = this.#waiting;
    this.#waiting = [];
    this.ask(batch.map(({ increment }) => increment)).then(
      (all) => batch.forEach(({ resolve }, index) => resolve(all[index]!)),
      (reason: unknown) => batch.forEach(({ reject }) => reject(reason)),
    );
  };
}
