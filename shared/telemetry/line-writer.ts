import { pino } from 'pino';
import type { Clock } from '../clock/clock.js';
import type { LineSink } from './access-log.js';

/** Lines leave in batches of about this size, or when they are this old. */
const batchBytes = 65_536;
const maxAgeMs = 200;
/** What a reader that does not keep up may leave lying (bytes); beyond it lines are lost, not memory. */
const maxPendingBytes = 16 * 1_024 * 1_024;

export interface LineWriter extends LineSink {
  /** Writes what is left, synchronously. */
  close(): void;
}

/**
 * Batched lines on a file descriptor: 1 is stdout. A reader that went away is not an error of ours.
 *
 * Lines are ASCII, so each is copied into the batch as it is: one write for each line would cost more than the line,
 * and handing strings on would have them measured and encoded again. pino's destination does the writing: it
 * copes with pipes that are full.
 */
export function lineWriter(fd: number, clock: Clock): LineWriter {
  // `contentMode` is sonic-boom's, which pino.destination passes its options to.
  const options = { fd, sync: false, contentMode: 'buffer', maxLength: maxPendingBytes };
  const destination = pino.destination(options) as unknown as { write(data: Buffer): boolean; flushSync(): void; on(event: string, listener: () => void): void };
  destination.on('error', () => {});
  let batch = Buffer.allocUnsafeSlow(batchBytes);
  let used = 0;
  let scheduled = false;
  const flush = (): void => {
    scheduled = false;
    if (used === 0) return;
    destination.write(batch.subarray(0, used));
    batch = Buffer.allocUnsafeSlow(batchBytes);
    used = 0;
  };
  return {
    write(line) {
      if (used + line.length > batchBytes) flush();
      if (line.length > batchBytes) {
        destination.write(Buffer.from(line, 'latin1'));
        return;
      }
      used += batch.latin1Write(line, used);
      if (scheduled) return;
      scheduled = true;
      clock.after(maxAgeMs, flush);
    },
    close() {
      flush();
      try {
        destination.flushSync();
      } catch {
        // The descriptor is not open yet or not any more; there is nobody left to tell.
      }
    },
  };
}
