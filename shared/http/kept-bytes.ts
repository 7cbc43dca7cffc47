import { Buffer } from 'node:buffer';

/**
 * Bytes of a body that are kept for longer than they pass, in no more memory than twice as many bytes, and 1 KiB.
 *
 * A chunk is an object of its own, and a view of all that was read with it. Kept as they come, chunks of a byte each, which HTTP/2
 * lets anybody send, take some hundred times what is in them. So they are copied together, into blocks that grow with what there is. Only a
 * chunk that has its memory nearly to itself is kept as it is; and the first, for as long as there is no other: most
 * bodies are one chunk, and that holds one read (64 KiB).
 */
export class KeptBytes {
  length = 0;
  #only: Buffer | undefined;
  /** In order, before the block under way. */
  #full: Buffer[] | undefined;
  #block = noBytes;
  #used = 0;

  add(data: Buffer): void {
    const before = this.length;
    this.length += data.length;
    if (before === 0) {
      this.#only = data;
      return;
    }
    const only = this.#only;
    this.#only = undefined;
    if (only !== undefined) this.#put(only);
    this.#put(data);
  }

  /** What there is, in order. */
  get blocks(): readonly Buffer[] {
    if (this.#only !== undefined) return [this.#only];
    const full = this.#full ?? [];
    return this.#used === 0 ? full : [...full, this.#block.subarray(0, this.#used)];
  }

  join(): Buffer {
    const { blocks } = this;
    return blocks.length === 1 ? blocks[0]! : Buffer.concat(blocks, this.length);
  }

  #put(data: Buffer): void {
    const copied = data.copy(this.#block, this.#used);
    this.#used += copied;
    if (copied === data.length) return;
    const full = (this.#full ??= []);
    if (this.#used > 0) full.push(this.#block);
    this.#block = noBytes;
    this.#used = 0;
    const rest = data.subarray(copied);
    if (rest.length >= minWholeBytes && rest.length * 2 >= rest.buffer.byteLength) {
      full.push(rest);
      return;
    }
    this.#block = Buffer.allocUnsafeSlow(Math.max(rest.length, Math.min(this.length, maxGrowthBytes), minBlockBytes));
    this.#used = rest.copy(this.#block);
  }
}

const noBytes = Buffer.alloc(0);
const minBlockBytes = 1_024;
/** A block is as long as all that is kept, up to this. */
const maxGrowthBytes = 16_384;
/** What is shorter costs more as an object of its own than as a copy. */
const minWholeBytes = 4_096;
