/** Milliseconds from the beginning of the watch. */
export interface Stall {
  readonly fromMs: number;
  readonly toMs: number;
}

const intervalMs = 50;
const noticedMs = 400;

/** Notices when this process was not given a processor for a while, by a timer that comes late. */
export class StallWatch {
  readonly #stalls: Stall[] = [];
  readonly #startedAt = performance.now();
  #last = this.#startedAt;
  readonly #timer = setInterval(() => this.#look(), intervalMs);

  stop(): readonly Stall[] {
    clearInterval(this.#timer);
    return this.#stalls;
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#last > noticedMs) this.#stalls.push({ fromMs: this.#last - this.#startedAt, toMs: now - this.#startedAt });
    this.#last = now;
  }
}
