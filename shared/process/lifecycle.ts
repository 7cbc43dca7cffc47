import { delay, type Clock, type Timer } from '../clock/clock.js';
import type { Logger } from '../telemetry/logger.js';

interface LifecycleOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Time between "not ready" and closing the listeners (ms). */
  readonly drainDelayMs: number;
  /** How long what is in flight may take (ms). */
  readonly drainTimeoutMs: number;
}

type Step = () => Promise<void> | void;

/** How long a step may take that takes leave or closes (ms): one that never ends must not keep the process. */
const stepTimeoutMs = 10_000;

/**
 * From start to exit: `starting`, `ready`, `draining`, `stopped`.
 *
 * Draining makes the process not ready at once, takes leave of whoever sends requests here, gives balancers `drainDelay` to notice, then lets what is in flight
 * finish for `drainTimeout`, and breaks off what is left.
 *
 * A step that fails keeps none of the others from running, nor does one that takes leave or closes and is not over within 10 s; what failed
 * is told when all is closed.
 */
export class Lifecycle {
  #state: 'starting' | 'ready' | 'draining' | 'stopped' = 'starting';
  #draining: Promise<void> | undefined;
  readonly #leaveSteps: Step[] = [];
  readonly #drainSteps: Step[] = [];
  readonly #closeSteps: Step[] = [];
  #failures: unknown[] = [];
  readonly #conditions: { readonly name: string; readonly holds: () => boolean }[] = [];

  constructor(private readonly options: LifecycleOptions) {}

  get isDraining(): boolean {
    return this.#state === 'draining' || this.#state === 'stopped';
  }

  /** Something that must hold for the process to be ready. */
  require(name: string, holds: () => boolean): void {
    this.#conditions.push({ name, holds });
  }

  /** Something that tells others to send nothing more here; over before anything stops accepting. Must take a short time only, whoever is away. */
  onLeave(step: () => Promise<void>): void {
    this.#leaveSteps.push(step);
  }

  /** Something that finishes by itself when it is told to take no more. All are told at once. */
  onDrain(step: () => Promise<void>): void {
    this.#drainSteps.push(step);
  }

  /** Something to close at the end, in the reverse order of registration. */
  onClose(step: Step): void {
    this.#closeSteps.push(step);
  }

  /** The start is over. One that a drain has overtaken makes nothing ready again. */
  started(): void {
    if (this.#state === 'starting') this.#state = 'ready';
  }

  /** Ends a start that a drain has overtaken: throws where that opens nothing more. */
  refuseIfDraining(): void {
    if (this.isDraining) throw new Error('the process is draining');
  }

  readiness(): { ready: boolean; reasons: string[] } {
    const reasons = this.#conditions.filter(({ holds }) => !holds()).map(({ name }) => name);
    if (this.#state !== 'ready') reasons.unshift(this.#state);
    return { ready: reasons.length === 0, reasons };
  }

  /** Drains and closes, once. Resolves when nothing is left open, and rejects then if a step has failed. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  async #drain(): Promise<void> {
    const { clock, logger, drainDelayMs, drainTimeoutMs } = this.options;
    this.#state = 'draining';
    logger.info({ drainDelayMs, drainTimeoutMs }, 'draining');
    const left = this.#runAll(this.#leaveSteps.map((step) => () => this.#inTime(step)));
    if (drainDelayMs > 0) await delay(clock, drainDelayMs);
    await left;
    const finished = this.#runAll(this.#drainSteps).then(() => true);
    const timedOut = new Promise<false>((resolve) => {
      const timer = clock.after(drainTimeoutMs, () => resolve(false));
      void finished.then(() => timer.cancel());
    });
    if (!(await Promise.race([finished, timedOut]))) logger.warn({ drainTimeoutMs }, 'requests in flight were broken off at the end of the drain timeout');
    await this.close();
  }

  /** Closes everything now. Rejects with what has failed: an `AggregateError` where that is more than one. */
  async close(): Promise<void> {
    for (const step of this.#closeSteps.splice(0).reverse()) await this.#run(() => this.#inTime(step));
    this.#state = 'stopped';
    const failures = this.#failures;
    this.#failures = [];
    if (failures.length > 1) throw new AggregateError(failures, `${failures.length} steps failed`);
    if (failures.length === 1) throw failures[0];
  }

  /** Starts all at once. Never rejects. */
  async #runAll(steps: readonly Step[]): Promise<void> {
    await Promise.all(steps.map((step) => this.#run(step)));
  }

  /** Fails if the step takes too long, which is left alone then. */
  async #inTime(step: Step): Promise<void> {
    let timer: Timer;
    const late = new Promise<never>((_, reject) => {
      timer = this.options.clock.after(stepTimeoutMs, () => reject(new Error(`a step of taking leave or closing is not over within ${stepTimeoutMs} ms`)));
    });
    try {
      await Promise.race([step(), late]);
    } finally {
      timer!.cancel();
    }
  }

  /** Never rejects. */
  async #run(step: Step): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#failures.push(error);
    }
  }
}
