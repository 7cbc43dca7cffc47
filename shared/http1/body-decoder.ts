import type { Headers } from '../http/headers.js';
import { ChunkedDecoder } from './chunked-decoder.js';
import type { Framing } from './framing.js';

/** Cuts one body out of a connection's bytes. */
export interface BodyDecoder {
  /** True once the last byte of the body was consumed. */
  readonly done: boolean;
  readonly trailers: Headers | undefined;
  /**
   * Consumes `data` from `offset` and hands the body's bytes to `emit`; what of it is consumed may be written over. Returns the offset behind
   * what was consumed, which is less than the end only when the body ended. Throws `Http1Error`.
   */
  decode(data: Buffer, offset: number, emit: (chunk: Buffer) => void): number;
}

export function bodyDecoder(framing: Framing): BodyDecoder | undefined {
  switch (framing.kind) {
    case 'none':
      return undefined;
    case 'length':
      return new LengthDecoder(framing.length);
    case 'chunked':
      return new ChunkedDecoder();
    case 'close':
      return new CloseDecoder();
  }
}

class LengthDecoder implements BodyDecoder {
  readonly trailers = undefined;
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  decode(data: Buffer, offset: number, emit: (chunk: Buffer) => void): number {
    const end = Math.min(data.length, offset + this.#left);
    this.#left -= end - offset;
    if (end > offset) emit(offset === 0 && end === data.length ? data : data.subarray(offset, end));
    return end;
  }
}

/** Everything until the connection closes: whoever owns the connection ends the body. */
class CloseDecoder implements BodyDecoder {
  readonly trailers = undefined;
  readonly done = false;

  decode(data: Buffer, offset: number, emit: (chunk: Buffer) => void): number {
    if (offset < data.length) emit(data.subarray(offset));
    return data.length;
  }
}
