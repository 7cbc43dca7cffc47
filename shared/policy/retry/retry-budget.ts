import type { Clock } from '../../clock/clock.js';
import type { RetryBudgetConfig } from '../../config/resilience.js';

const slotCount = 10;

/**
 * Bounds the load that retries and hedges add (Finagle's RetryBudget; linkerd2-proxy).
 *
 * Requests deposit, retries withdraw, and both are forgotten after the window, which is kept in ten
 * slots. A retry is allowed while retries in the window stay below `ratio` of the requests in it plus `minPerSecond`
 * for each of its seconds. So when everything fails, an upstream gets 1.2 times its load and not three times. An
 * attempt that the upstream never saw adds nothing to its load, and is given back.
 */
export class RetryBudget {
  readonly #clock: Clock;
  readonly #config: RetryBudgetConfig;
  readonly #slotMs: number;
  readonly #requests = new Float64Array(slotCount);
  readonly #retries = new Float64Array(slotCount);
  #slot: number;

  constructor(config: RetryBudgetConfig, clock: Clock) {
    this.#clock = clock;
    this.#config = config;
    this.#slotMs = Math.max(1, config.window / slotCount);
    this.#slot = Math.floor(clock.now() / this.#slotMs);
  }

  /** Counts a request. */
  deposit(): void {
    this.#requests[this.#currentSlot()]!++;
  }

  /** Takes an additional attempt out of the budget, if there is one left. */
  withdraw(): boolean {
    const slot = this.#currentSlot();
    const allowed = sum(this.#requests) * this.#config.ratio + (this.#config.minPerSecond * this.#config.window) / 1_000;
    if (sum(this.#retries) + 1 > allowed) return false;
    this.#retries[slot]!++;
    return true;
  }

  /** Puts back what was taken for an attempt that never left the proxy. */
  giveBack(): void {
    const slot = this.#currentSlot();
    for (let back = 0; back < slotCount; back++) {
      const index = (slot + slotCount - back) % slotCount;
      if (this.#retries[index]! === 0) continue;
      this.#retries[index]!--;
      return;
    }
  }

  /** Index of the slot of now; the slots that time has passed over are emptied. */
  #currentSlot(): number {
    const slot = Math.floor(this.#clock.now() / this.#slotMs);
    const passed = Math.min(slotCount, slot - this.#slot);
    for (let step = 1; step <= passed; step++) {
      this.#requests[(this.#slot + step) % slotCount] = 0;
      this.#retries[(this.#slot + step) % slotCount] = 0;
    }
    this.#slot = slot;
    return slot % slotCount;
  }
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
