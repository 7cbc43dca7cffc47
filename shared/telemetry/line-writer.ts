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
    /** Makes a line that is longer than a batch fit into one; default: it leaves as it is, alone. */
    private readonly fit?: (line: string, size: number) => string,
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
    if (this.#used + line.length > this.size) {
      this.#send();
      if (line.length > this.size) {
        this.#addLong(line);
        return;
      }
    }
    this.#used += writeLatin1(this.#batch, line, this.#used, line.length);
  }

  #addLong(line: string): void {
    const fitting = this.fit?.(line, this.size) ?? line;
    if (fitting.length > this.size) this.flush(Buffer.from(fitting, 'latin1'));
    else this.#add(fitting);
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

/** All that a string in JSON holds before the end, without one that is cut through. */
const wholeEscapes = /^"(?:[^\\]|\\u[0-9a-f]{4}|\\[^u])*/;

/**
 * A line of the log, which is a JSON object without objects in it, made to fit into `size` bytes: its longest values lose their ends, and `cut`
 * names them.
 */
export function shortened(line: string, size: number): string {
  const texts = new Map(Object.entries(JSON.parse(line) as Record<string, unknown>).map(([name, value]) => [name, typeof value === 'string' ? asciiJson(value) : JSON.stringify(value)]));
  const cut: string[] = [];
  const written = (): string => `{${[...texts].map(([name, text]) => `"${name}":${text}`).join(',')},"cut":"${cut.join(',')}"}\n`;
  for (const [name, text] of [...texts].filter(([, text]) => text.startsWith('"')).sort(([, a], [, b]) => b.length - a.length)) {
    if (written().length <= size) break;
    cut.push(name);
    const length = text.length - 1 - (written().length - size);
    texts.set(name, `${wholeEscapes.exec(text.slice(0, Math.max(1, length)))![0]}"`);
  }
  return written();
}

export interface LineWriterOptions {
  readonly clock: Clock;
  /** Whether other processes write there too. Default: no. */
  readonly isShared?: boolean | undefined;
  /** Hears of lines for which there was no room, since the reader does not keep up or the disk is full. */
  readonly onLost?: (lines: number) => void;
}

/**
 * Batched lines on a file descriptor: 1 is stdout. A reader that went away is not an error of ours. `close`, or the end of the process, writes what is left before it
 * returns, and gives up half a second after the reader took something for the last time. Where several processes write to the descriptor (`isShared`), lines stay whole all the same: writes
 * to a file do not mix (write(2), write to one open file description), and those to anything else are so small that a pipe takes them in one
 * piece, for which long lines are cut short.
 */
export function openLineWriter(fd: number, { clock, isShared = false, onLost }: LineWriterOptions): { writer: LineWriter; close: () => void } {
  const isMixed = isShared && !fstatSync(fd).isFile();
  const descriptor = new DescriptorWriter(fd, { clock, maxWaitingBytes, isAside: true });
  const flush = (batch: Buffer): void => {
    if (!descriptor.write(batch)) onLost?.(linesIn(batch));
  };
  const writer = new LineWriter(clock, flush, isMixed ? pipeBatchBytes : batchBytes, isMixed ? shortened : undefined);
  const close = (): void => {
    process.off('exit', close);
    writer.close();
    descriptor.close();
  };
  // A defect and a second signal end the process without closing anything.
  process.once('exit', close);
  return { writer, close };
}

function linesIn(batch: Buffer): number {
  let lines = 0;
  for (let at = batch.indexOf(10); at !== -1; at = batch.indexOf(10, at + 1)) lines++;
  return lines;
}
