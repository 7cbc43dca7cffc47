import { performance } from 'node:perf_hooks';

/**
 * Time, as the rest of the code sees it. Nothing else may call `Date.now`, `setTimeout` or
 * `performance.now`, so that every policy can be tested on a clock that the test turns by hand.
 */
export interface Clock {
  /** Monotonic milliseconds, with fractions; only differences mean anything. */
  now(): number;
  /** Wall-clock milliseconds since the Unix epoch; may jump. */
  wallNow(): number;
  /** Runs `callback` once, `delayMs` from now, unless the returned timer is cancelled first. */
  after(delayMs: number, callback: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

class SystemTimer implements Timer {
  readonly #handle: NodeJS.Timeout;
  constructor(delayMs: number, callback: () => void) {
    this.#handle = setTimeout(callback, delayMs);
    this.#handle.unref();
  }
  cancel(): void {
    clearTimeout(this.#handle);
  }
}

/** The machine's clock. Its timers never keep a process alive: open sockets and servers do that. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (delayMs, callback) => new SystemTimer(delayMs, callback),
};

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as it is aborted. */
export function delay(clock: Clock, delayMs: number, cancellation?: DelayCancellation): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(delayMs, () => {
      unsubscribe?.();
      resolve();
    });
    const unsubscribe = cancellation?.onCancel((reason) => {
      timer.cancel();
      reject(reason);
    });
  });
}

interface DelayCancellation {
  onCancel(callback: (reason: Error) => void): () => void;
}
