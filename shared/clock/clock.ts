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
  /** Runs `callback` once, `delayMs` from now, unless the returned timer is cancelled first. What has come over sockets by then is read before it. */
  after(delayMs: number, callback: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/**
 * The event loop runs the timers that are due before it reads sockets. In a process that stood still (SIGSTOP, a virtual machine that was moved, a
 * long turn of the loop) every answer that came meanwhile would be late, though it is there. So a timer that has ended takes effect
 * behind the reading, as in nginx and libevent.
 */
class SystemTimer implements Timer {
  readonly #handle: NodeJS.Timeout;
  #afterReading: NodeJS.Immediate | undefined;

  constructor(delayMs: number, callback: () => void) {
    this.#handle = setTimeout(() => {
      this.#afterReading = setImmediate(callback);
    }, delayMs);
    this.#handle.unref();
  }

  cancel(): void {
    clearTimeout(this.#handle);
    clearImmediate(this.#afterReading);
  }
}

/** The longest that Node's timers wait (ms); what is longer they would not wait at all. */
const maxDelayMs = 2 ** 31 - 1;

/** The machine's clock. Its timers never keep a process alive: open sockets and servers do that. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (delayMs, callback) => new SystemTimer(Math.min(delayMs, maxDelayMs), callback),
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
