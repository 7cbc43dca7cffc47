import type { Clock } from './clock.js';

const quietMs = 60_000;

/** Whether to say something that may happen any number of times: true once, and then not for a minute. */
export function onceAMinute(clock: Pick<Clock, 'now'>): () => boolean {
  let quietUntil = -Infinity;
  return () => {
    const now = clock.now();
    if (now < quietUntil) return false;
    quietUntil = now + quietMs;
    return true;
  };
}
