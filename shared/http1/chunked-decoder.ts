import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { latin1Text } from '../http/latin1.js';
import type { BodyDecoder } from './body-decoder.js';
import { HeadLines, parseFields, scanHead } from './head.js';
import { Http1Error } from './http1-error.js';
import { wordsOf } from './read-buffer.js';

/**
 * The chunked transfer coding (RFC 9112 section 7.1).
 *
 * States: `size` reads a line that says how long the next chunk is, `data` reads that many bytes,
 * `data-end` reads the CRLF behind them, and after a chunk of size zero `trailer` reads field lines up
 * to an empty one. Lines may be split anywhere, so an unfinished one is kept, up to a limit.
 */
export class ChunkedDecoder implements BodyDecoder {
  #state: 'size' | 'data' | 'data-end' | 'trailer' | 'done' = 'size';
  #left = 0;
  #line = '';
  #extensionBytes = 0;
  #trailerText = '';
  #trailers: Headers | undefined;
  /** What was found in the piece that is being decoded, moved together: `[from, to)` of it. */
  #from = 0;
  #to = 0;

  get done(): boolean {
    return this.#state === 'done';
  }

  /** The trailer fields that a recipient may use, once `done`; undefined when there are none. */
  get trailers(): Headers | undefined {
    return this.#trailers;
  }

  /**
   * The data of all chunks in `data` is moved together, in its place, and goes on as one piece: otherwise whoever sends a byte a chunk would have
   * us make a chunk, and a call of the system, of each byte.
   */
  decode(data: Buffer, offset: number, emit: (chunk: Buffer) => void): number {
    this.#from = this.#to = 0;
    try {
      return this.#decode(data, offset);
    } finally {
      if (this.#to > this.#from) emit(data.subarray(this.#from, this.#to));
    }
  }

  #decode(data: Buffer, offset: number): number {
    while (offset < data.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const end = Math.min(data.length, offset + this.#left);
        if (this.#to === 0) this.#from = this.#to = offset;
        else data.copyWithin(this.#to, offset, end);
        this.#to += end - offset;
        this.#left -= end - offset;
        offset = end;
        if (this.#left === 0) this.#state = 'data-end';
        continue;
      }
      const lineFeed = data.indexOf(10, offset);
      const end = lineFeed === -1 ? data.length : lineFeed + 1;
      this.#line += latin1Text(data, offset, end);
      offset = end;
      if (this.#line.length > maxLineLength) throw new Http1Error('framing', 'an over-long line in a chunked body');
      if (this.#state === 'data-end' && !'\r\n'.startsWith(this.#line)) throw new Http1Error('framing', 'a chunk longer than its size');
      if (lineFeed !== -1) this.#endLine();
    }
    return offset;
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = '';
    if (!line.endsWith('\r\n')) throw new Http1Error('framing', 'a line in a chunked body that does not end with CRLF');
    const text = line.slice(0, -2);
    if (this.#state === 'data-end') this.#state = 'size';
    else if (this.#state === 'size') this.#startChunk(text);
    else if (text === '') this.#endTrailers();
    else this.#addTrailer(line);
  }

  #startChunk(line: string): void {
    const match = sizeLine.exec(line);
    if (match === null) throw new Http1Error('framing', 'a chunk size that is not a hexadecimal number');
    this.#extensionBytes += match[2]!.length;
    if (this.#extensionBytes > maxExtensionBytes) throw new Http1Error('framing', 'too many bytes of chunk extensions');
    this.#left = parseInt(match[1]!, 16);
    this.#state = this.#left === 0 ? 'trailer' : 'data';
  }

  #addTrailer(line: string): void {
    this.#trailerText += line;
    if (this.#trailerText.length > maxTrailerBytes) throw new Http1Error('head_too_large', 'too many bytes of trailers');
  }

  #endTrailers(): void {
    this.#state = 'done';
    if (this.#trailerText === '') return;
    const bytes = Buffer.from(this.#trailerText, 'latin1');
    scanHead(bytes, wordsOf(bytes), 0, 0, trailerLines);
    const trailers = parseFields(this.#trailerText, 0, maxTrailers);
    // Dropped they would do no harm here; but there are servers that would believe them.
    if (trailers.hasKind(fieldKind.contentLength | fieldKind.transferEncoding)) throw new Http1Error('framing', 'a trailer that says where a body ends');
    trailers.deleteKind(fieldKind.notInTrailers);
    if (trailers.size > 0) this.#trailers = trailers;
  }
}

const trailerLines = new HeadLines();
const maxLineLength = 8_192;
const maxExtensionBytes = 16_384;
const maxTrailerBytes = 16_384;
const maxTrailers = 64;

// At most 13 digits: below 2^52, so that sums stay exact. Extensions (section 7.1.1) are read and dropped.
const sizeLine = /^([0-9A-Fa-f]{1,13})((?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"))?)*)$/;
