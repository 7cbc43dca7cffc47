import { systemClock } from './clock.js';

/** How long a piece of long work may hold the event loop (ms): a request waits behind several. */
const sliceMs = 2;

/** Work in steps, small ones where it can be: what is well under a millisecond nobody notices. What it yields does not matter. */
export type Steps<T> = Generator<unknown, T>;

/** For work that takes long: what it returns is awaited between steps, and lets everything else have its turn whenever the event loop was held for 2 ms. */
export function pauses(): () => Promise<void> | undefined {
  let until = systemClock.now() + sliceMs;
  const pause = (resolve: () => void): void => {
    setImmediate(() => {
      until = systemClock.now() + sliceMs;
      resolve();
    });
  };
  return () => (systemClock.now() < until ? undefined : new Promise(pause));
}

export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  const pause = pauses();
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    await pause();
  }
}

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}
