import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { copyOf, wordsOf } from '../../http1/read-buffer.js';
import { lendReads } from './lend-reads.js';

/**
 * What a client has sent: handed to whoever reads it, and held for as long as it cannot be read.
 *
 * The bytes of a read are only lent, and will be others later: what is kept of them is copied, as `hold` and `own` do.
 */
export class ClientInput {
  #held: Buffer | undefined;
  /** How much of what is held was looked at. */
  #scanned = 0;
  #isDeferred = false;
  /** Where the bytes that are read now are lent from. */
  #lentFrom: DataView | undefined;
  #isReading = false;
  /** What came while other bytes were read. */
  #early: Buffer | undefined;

  /** `read` takes bytes, the first `scanned` of which it has looked at before. */
  constructor(
    socket: Socket,
    private readonly read: (data: Buffer, scanned: number) => void,
  ) {
    lendReads(socket, (data, words) => this.#receive(data, words));
    socket.on('data', (data: Buffer) => this.#receive(data));
  }

  /** Nothing is held. */
  get isEmpty(): boolean {
    return this.#held === undefined;
  }

  /** What is held is about to be read; bytes that come before that go behind it. */
  get isDeferred(): boolean {
    return this.#isDeferred;
  }

  get isLent(): boolean {
    return this.#lentFrom !== undefined;
  }

  /** The bytes that are read now, to be read several at a time. */
  wordsOf(data: Buffer): DataView {
    return this.#lentFrom ?? wordsOf(data);
  }

  /**
   * Keeps the rest of what is read, from `start` on, until more comes or it is read again. Returns how much that is (bytes). `isScanned`: it was
   * looked at, and need not be again; what was not must be, or it would go on as it is.
   */
  hold(data: Buffer, start: number, isScanned: boolean): number {
    if (this.#lentFrom !== undefined) this.#held = copyOf(data, start, data.length);
    else this.#held = start === 0 ? data : data.subarray(start);
    this.#scanned = isScanned ? this.#held.length : 0;
    return this.#held.length;
  }

  /** The rest of what is read, from `start` on, as memory that nobody else uses. */
  own(data: Buffer, start: number): Buffer {
    this.#lentFrom = undefined;
    return copyOf(data, start, data.length);
  }

  /** Takes what is held away. */
  take(): Buffer | undefined {
    const held = this.#held;
    this.#held = undefined;
    return held;
  }

  /** Has `then` read what is held, with `readHeld`, in a turn of its own. */
  defer(then: () => void): void {
    this.#isDeferred = true;
    setImmediate(then);
  }

  readHeld(): void {
    this.#isDeferred = false;
    const held = this.take();
    if (held !== undefined) this.#consume(held, 0);
  }

  #receive(data: Buffer, lentFrom?: DataView): void {
    if (this.#isReading) {
      // TLS hands over what it has decrypted also from within a write of ours.
      this.#early = this.#early === undefined ? Buffer.from(data) : Buffer.concat([this.#early, data]);
      return;
    }
    const held = this.#held;
    if (held === undefined) {
      this.#consume(data, 0, lentFrom);
    } else if (this.#isDeferred) {
      this.#held = Buffer.concat([held, data]);
    } else {
      this.#held = undefined;
      this.#consume(Buffer.concat([held, data]), this.#scanned);
    }
  }

  #consume(data: Buffer, scanned: number, lentFrom?: DataView): void {
    this.#isReading = true;
    this.#lentFrom = lentFrom;
    this.read(data, scanned);
    this.#isReading = false;
    const early = this.#early;
    if (early === undefined) return;
    this.#early = undefined;
    this.#receive(early);
  }
}
