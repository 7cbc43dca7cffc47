import { Buffer } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import type { Clock } from '../clock/clock.js';

/** How often a reader that does not keep up is tried again. */
const retryMs = 10;
/** And at the end, when nothing else can be done meanwhile: while the reader takes something every half a second, and for five in all. */
const lastRetryMs = 2;
const lastTriesWithoutProgress = 250;
const lastTries = 2_500;

interface DescriptorWriterOptions {
  readonly clock: Clock;
  /** What may lie here until it is read (bytes); what comes beyond it is lost. */
  readonly maxWaitingBytes: number;
  /** Whether a thread does the writing where it could wait, as for a disk. Default: it is done when `write` returns, if it can be. */
  readonly isAside?: boolean;
}

/**
 * Bytes for a descriptor that somebody else reads, in order. What cannot be written now waits here, up to a limit: for a reader that does not
 * keep up it is tried again soon, for a disk that is full with what comes next. Neither is an error of ours, and nothing here throws.
 *
 * A pipe is opened once more. Whether writing to it waits is a property of the open file, which all processes share that have it, and Node
 * sets it anew whenever it starts a child; through our own it never waits.
 */
export class DescriptorWriter {
  readonly #fd: number;
  readonly #isOwn: boolean;
  readonly #isAside: boolean;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** A thread writes what waits first. */
  #isWriting = false;
  #isRetrying = false;
  #isClosed = false;

  constructor(
    fd: number,
    private readonly options: DescriptorWriterOptions,
  ) {
    const pipe = reopenedPipe(fd);
    this.#fd = pipe ?? fd;
    this.#isOwn = pipe !== undefined;
    this.#isAside = !this.#isOwn && options.isAside === true;
  }

  /** Takes `data`, whose memory it owns from now on. Returns whether there was room for it. */
  write(data: Buffer): boolean {
    if (this.#isClosed) return false;
    const hasRoom = this.#waitingBytes + data.length <= this.options.maxWaitingBytes;
    if (hasRoom) {
      this.#waiting.push(data);
      this.#waitingBytes += data.length;
    }
    if (!this.#isWriting && !this.#isRetrying) this.#send();
    return hasRoom;
  }

  /** Writes what waits before it returns; gives up after half a second in which the reader took nothing, and after five seconds in any case. */
  flush(): void {
    const pause = new Int32Array(new SharedArrayBuffer(4));
    let before = this.#waitingBytes;
    for (let tries = 0, idle = 0; tries < lastTries && idle < lastTriesWithoutProgress && isBusy(this.#sendNow()); tries++) {
      idle = this.#waitingBytes < before ? 0 : idle + 1;
      before = this.#waitingBytes;
      Atomics.wait(pause, 0, 0, lastRetryMs);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // That is written by the thread that has it.
    if (this.#isWriting) this.#waiting.shift();
    this.flush();
    if (this.#isOwn) closeSync(this.#fd);
  }

  #send(): void {
    if (this.#isAside) this.#sendAside();
    else this.#retryIfBusy(this.#sendNow());
  }

  /** Returns what was in the way. */
  #sendNow(): unknown {
    try {
      for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) this.#written(writeSync(this.#fd, next));
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #sendAside(): void {
    const next = this.#waiting[0];
    if (next === undefined) return;
    this.#isWriting = true;
    write(this.#fd, next, (error, count) => {
      this.#isWriting = false;
      if (this.#isClosed) return;
      if (error !== null) {
        this.#retryIfBusy(error);
        return;
      }
      this.#written(count);
      this.#sendAside();
    });
  }

  #written(count: number): void {
    const [first] = this.#waiting;
    this.#waitingBytes -= count;
    if (count === first!.length) this.#waiting.shift();
    else this.#waiting[0] = first!.subarray(count);
  }

  #retryIfBusy(error: unknown): void {
    if (!isBusy(error)) return;
    this.#isRetrying = true;
    this.options.clock.after(retryMs, () => {
      this.#isRetrying = false;
      if (!this.#isClosed) this.#send();
    });
  }
}

/** Undefined where `fd` is no pipe, or may not be opened: it may belong to another user, and not every system has this. */
function reopenedPipe(fd: number): number | undefined {
  try {
    return fstatSync(fd).isFIFO() ? openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK) : undefined;
  } catch {
    return undefined;
  }
}

/** The reader does not keep up. */
function isBusy(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EAGAIN';
}
