import { Buffer } from 'node:buffer';
import { WholeBody } from '../http/body.js';
import { latin1Text } from '../http/latin1.js';

/**
 * Memory that many sockets read into, one after the other: a fresh buffer for each read costs more than parsing what is in it.
 * What is read is only lent: whoever keeps some of it, or passes it on, copies it first.
 *
 * Accepted and upstream connections have one each. Within a write to one side, TLS may hand over what it has decrypted for the
 * other; so while bytes of one side are looked at, the other's may change, and its own do not.
 */
export class ReadBuffer {
  readonly memory = Buffer.allocUnsafeSlow(size);
  /** The same memory, to be read several bytes at a time. */
  readonly words = wordsOf(this.memory);
  /** Views of the first bytes, by length: most messages are short, and even a view is an allocation. */
  readonly #views = new Array<Buffer | undefined>(maxKnownView + 1).fill(undefined);

  view(length: number): Buffer {
    if (length > maxKnownView) return this.memory.subarray(0, length);
    return (this.#views[length] ??= this.memory.subarray(0, length));
  }
}

const size = 65_536;
const maxKnownView = 2_048;

/** The memory of `data`, to be read several bytes at a time. */
export function wordsOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}

/** A copy of `data[start, end)`, for what is kept. */
export function copyOf(data: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  data.copy(copy, 0, start, end);
  return copy;
}

/** `data[start, end)` as a body: a short one as text, which is copied with one call and goes out with its head in one more. */
export function wholeBody(data: Buffer, start: number, end: number, isLent: boolean): WholeBody {
  if (end - start <= maxTextBytes) return new WholeBody(latin1Text(data, start, end));
  return new WholeBody(isLent ? copyOf(data, start, end) : data.subarray(start, end));
}

const maxTextBytes = 8_192;
