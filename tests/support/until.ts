import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from './patience.js';

/** Resolves once something holds that nothing tells of by itself. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const givesUpAt = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > givesUpAt) throw new Error(`waited in vain: this does not hold: ${holds.toString()}`);
    await sleep(10);
  }
}

/** The figure that `read` gives once it is above zero and stays the same: nothing tells that nothing moves any more, so it is looked at. */
export async function untilStill(read: () => number): Promise<number> {
  for (let last = read(); ; last = read()) {
    await sleep(100);
    if (last > 0 && read() === last) return last;
  }
}
