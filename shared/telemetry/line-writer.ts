import { pino } from 'pino';
import type { Clock } from '../clock/clock.js';
import type { LineSink } from './access-log.js';

/** Lines are written in batches of this size, or when they are this old: one write for each would cost more than the line. */
const batchBytes = 8_192;
const maxAgeMs = 200;

export interface LineWriter extends LineSink {
  /** Writes what is left, synchronously. */
  close(): void;
}

/** Batched lines on a file descriptor: 1 is stdout. A reader that went away is not an error of ours. */
export function lineWriter(fd: number, clock: Clock): LineWriter {
  const destination = pino.destination({ fd, sync: false, minLength: batchBytes, maxLength: 16 * 1_024 * 1_024 });
  destination.on('error', () => {});
  let scheduled = false;
  let closed = false;
  const flush = (): void => {
    scheduled = false;
    if (!closed) destination.flush();
  };
  return {
    write(line) {
      destination.write(line);
      if (scheduled) return;
      scheduled = true;
      clock.after(maxAgeMs, flush);
    },
    close() {
      closed = true;
      try {
        destination.flushSync();
      } catch {
        // The descriptor is not open yet or not any more; there is nobody left to tell.
      }
    },
  };
}
