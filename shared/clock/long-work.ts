import { performance } from 'node:perf_hooks';

/** How long a piece of long work may hold the event loop (ms): a request waits behind several. */
const sliceMs = 2;

/** Work in small steps, each of well under a millisecond; what it yields does not matter. */
export type Steps<T> = Generator<unknown, T>;

/** For work that takes long: what it returns is awaited between steps, and lets everything else have its turn whenever the event loop was held for 2 ms. */
export function pauses(): () => Promise<void> | undefined {
  let until = performance.now() + sliceMs;
  const pause = (resolve: () => void): void => {
    setImmediate(() => {
      until = performance.now() + sliceMs;
      resolve();
    });
  };
  return () => (performance.now() < until ? undefined : new Promise(pause));
}

export async function inTurns<T>(steps: Steps<T>, pause = pauses()): Promise<T> {
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
