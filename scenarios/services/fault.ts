import { z } from 'zod';

/** What is wrong with a service at the moment. Nothing, unless the lab says so. */
export const faultSchema = z.strictObject({
  latencyMs: z.number().min(0).max(60_000).default(0).describe('Work on every answer, which stops when the client leaves.'),
  errorRate: z.number().min(0).max(1).default(0).describe('Share of requests that are answered with errorStatus.'),
  errorStatus: z.int().min(400).max(599).default(503),
  hang: z.boolean().default(false).describe('Requests are taken and never answered.'),
  crash: z.boolean().default(false).describe('The process exits at once; its supervisor starts it again after a while.'),
  capacity: z
    .strictObject({ slots: z.int().positive(), workMs: z.number().min(0) })
    .optional()
    .describe('Only so many requests are worked on at a time, each for so long; the others wait.'),
  seed: z.int().default(1).describe('Of the choice of requests that fail.'),
});
export type Fault = z.output<typeof faultSchema>;

export const noFault: Fault = faultSchema.parse({});

/** Mulberry32: a small generator whose sequence depends on the seed alone. Uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A service's fault switch: what each request meets before it is handled. */
export class FaultSwitch {
  #fault = noFault;
  #random = seededRandom(1);
  #working = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #hanging = new Set<() => void>();

  get fault(): Fault {
    return this.#fault;
  }

  /** Exchanges the fault; requests that hang are let go when the new one does not hang. */
  set(fault: Fault): void {
    this.#fault = fault;
    this.#random = seededRandom(fault.seed);
    if (!fault.hang) for (const release of this.#hanging) release();
    this.#serve();
  }

  /** Resolves with the status to fail with, or with undefined to go on; hangs if it must. `gone`: nobody waits any more. */
  async meet(gone?: AbortSignal): Promise<number | undefined> {
    const { hang, latencyMs, errorRate, errorStatus, capacity } = this.#fault;
    if (hang) await new Promise<void>((resolve) => this.#hanging.add(resolve)).finally(() => this.#hanging.clear());
    if (capacity !== undefined) await this.#work(capacity.workMs);
    if (latencyMs > 0) await pause(latencyMs, gone);
    return errorRate > 0 && this.#random() < errorRate ? errorStatus : undefined;
  }

  async #work(workMs: number): Promise<void> {
    if (this.#working >= (this.#fault.capacity?.slots ?? Infinity)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#working++;
    await pause(workMs);
    this.#working--;
    this.#serve();
  }

  #serve(): void {
    const slots = this.#fault.capacity?.slots ?? Infinity;
    for (let free = slots - this.#working; free > 0 && this.#waiting.length > 0; free--) this.#waiting.shift()!();
  }
}

function pause(ms: number, gone?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (gone?.aborted === true) return resolve();
    const timer = setTimeout(resolve, ms);
    gone?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
