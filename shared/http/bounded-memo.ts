import { interned } from './interned.js';

interface MemoLimits {
  readonly maxEntries: number;
  readonly maxLength: number;
}

/**
 * What was worked out for a string, kept for when it comes again. Bounded: when it is full it starts anew, so that a client that invents strings
 * makes things slower while it does so, and neither the memory larger nor others slow for ever; long strings are not kept.
 */
export class BoundedMemo<Value> {
  readonly #known = new Map<string, Value>();

  constructor(private readonly limits: MemoLimits) {}

  get(key: string): Value | undefined {
    return this.#known.get(key);
  }

  keeps(key: string): boolean {
    return key.length <= this.limits.maxLength;
  }

  set(key: string, value: Value): void {
    if (!this.keeps(key)) return;
    if (this.#known.size >= this.limits.maxEntries) this.#known.clear();
    this.#known.set(interned(key), value);
  }
}
