import { Buffer } from 'node:buffer';
import { fstatSync } from 'node:fs';
import type { Clock } from '../clock/clock.js';
import { writeLatin1 } from '../http/latin1.js';
import { DescriptorWriter } from './descriptor-writer.js';

/** Lines leave in batches of about this size, or when they are this old. */
const batchBytes = 65_536;
const maxAgeMs = 200;
/** Lines are put together by so many. */
const maxUnmade = 16;
/** What a pipe takes in one piece, whoever else writes to it (PIPE_BUF of Linux). */
const pipeBatchBytes = 4_096;
/** What a reader that does not keep up may leave lying (bytes); beyond it lines are lost, not memory. */
const maxWaitingBytes = 16 * 1_024 * 1_024;

/**
 * Lines of ASCII, copied into the batch in which they leave: one write for each line would cost more than the line, and
 * handing strings on would have them measured and encoded again.
 */
export class LineWriter {
  #batch: Buffer;
  #used = 0;
  #isScheduled = false;
  /** What lines are yet to be made of, and how. */
  readonly #unmade: unknown[] = [];
  readonly #makers: ((of: never) => string)[] = [];
  #unmadeCount = 0;

  constructor(
    private readonly clock: Clock,
    /** Takes a batch of whole lines, and owns its memory. */
    private readonly flush: (batch: Buffer) => void,
    private readonly size = batchBytes,
  ) {
    this.#batch = Buffer.allocUnsafeSlow(size);
  }

  /** Takes a whole line, newline included. */
  write(line: string): void {
    this.#make();
    this.#add(line);
    this.#schedule();
  }

  /**
   * Takes what a line is to be made of, later and beside others: a process that sleeps between two requests finds cold caches at each, and
   * sixteen lines in a row cost a fraction of sixteen lines. What the line tells must not change any more.
   */
  later<T>(of: T, toLine: (of: T) => string): void {
    this.#unmade[this.#unmadeCount] = of;
    this.#makers[this.#unmadeCount] = toLine;
    if (++this.#unmadeCount === maxUnmade) this.#make();
    this.#schedule();
  }

  #make(): void {
    const count = this.#unmadeCount;
    this.#unmadeCount = 0;
    for (let index = 0; index < count; index++) {
      this.#add(this.#makers[index]!(this.#unmade[index] as never));
      this.#unmade[index] = undefined;
    }
  }

  #add(line: string): void {
    if (this.#used + line.length > this.size) this.#send();
    if (line.length > this.size) {
      this.flush(Buffer.from(line, 'latin1'));
      return;
    }
    this.#used += writeLatin1(this.#batch, line, this.#used, line.length);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.clock.after(maxAgeMs, this.#onAge);
  }

  /** One timer at a time, however many batches leave before it because they are full. */
  readonly #onAge = (): void => {
    this.#isScheduled = false;
    this.#handOver();
  };

  /** Hands over what there is. */
  #handOver(): void {
    this.#make();
    this.#send();
  }

  #send(): void {
    if (this.#used === 0) return;
    this.flush(this.#batch.subarray(0, this.#used));
    this.#batch = Buffer.allocUnsafeSlow(this.size);
    this.#used = 0;
  }

  close(): void {
    this.#handOver();
  }
}

const needsEscape = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** `text` as a JSON string of ASCII alone. */
export function asciiJson(text: string): string {
  return needsEscape.test(text) ? escaped(text) : `"${text}"`;
}

function escaped(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * Batched lines on a file descriptor: 1 is stdout. A reader that went away is not an error of ours. `close` writes what is left, before it
 * returns and for half a second at most. Where several processes write to the descriptor (`isShared`), lines stay whole all the same: writes
 * to a file do not mix (write(2), write to one open file description), and those to anything else are so small that a pipe takes them in one
 * piece.
 */
export function openLineWriter(fd: number, clock: Clock, isShared = false): { writer: LineWriter; close: () => void } {
  const size = isShared && !fstatSync(fd).isFile() ? pipeBatchBytes : batchBytes;
  const descriptor = new DescriptorWriter(fd, { clock, maxWaitingBytes, isAside: true });
  const writer = new LineWriter(clock, (batch) => descriptor.write(batch), size);
  return {
    writer,
    close() {
      writer.close();
      descriptor.close();
    },
  };
}
