import type { Clock } from '../../clock/clock.js';

/** How often a worker is asked whether it is there (ms), and how many questions in a row it may leave unanswered. */
const intervalMs = 5_000;
const maxUnanswered = 6;

/**
 * Gives up a worker that has left six questions in a row unanswered, which takes half a minute: its event loop stands still, and so do its
 * connections. Questions are counted rather than time, so that whoever was stopped together with its workers blames none of them.
 *
 * @returns what ends the watch
 */
export function watch(clock: Clock, ask: () => Promise<unknown>, giveUp: () => void): () => void {
  let unanswered = 0;
  const answered = (): void => void (unanswered = 0);
  const look = (): void => {
    if (unanswered === maxUnanswered) {
      giveUp();
      return;
    }
    unanswered++;
    ask().then(answered, () => {});
    timer = clock.after(intervalMs, look);
  };
  let timer = clock.after(intervalMs, look);
  return () => timer.cancel();
}
