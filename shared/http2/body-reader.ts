import { constants, type Http2Stream } from 'node:http2';
import type { Headers } from '../http/headers.js';
import { readTrailers } from './fields.js';

/** What a reader tells. Exactly one of `end` and `broken` is called, and nothing after it. */
export interface BodyListener {
  chunk(data: Buffer): void;
  end(trailers: Headers | undefined): void;
  broken(error: Error | undefined): void;
}

/**
 * Reads the body of a stream of HTTP/2, and tells one that ended from one that broke off: Node ends the readable side in either
 * case. It is looked at when the end comes, not when it is delivered: by then a stream that ended well may be closed too.
 */
export class BodyReader {
  #trailers: Headers | undefined;
  #isOver = false;

  constructor(
    private readonly stream: Http2Stream,
    private readonly listener: BodyListener,
  ) {
    const push = stream.push.bind(stream);
    let endedOpen = false;
    stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
      // A reset marks the stream as closed before it ends it; the peer's END_STREAM comes to an open one.
      if (chunk === null && !stream.closed) endedOpen = true;
      return push(chunk, encoding);
    };
    stream.on('data', (data: Buffer) => {
      if (!this.#isOver) listener.chunk(data);
    });
    stream.once('trailers', (_fields, _flags, raw?: readonly string[]) => {
      try {
        this.#trailers = readTrailers(raw ?? []);
      } catch (error) {
        this.#break(error as Error);
        stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      }
    });
    stream.once('end', () => {
      // Trailers end the stream, but are told of a moment after that.
      if (endedOpen) process.nextTick(this.#end);
      else this.#break(undefined);
    });
    stream.once('aborted', () => {
      if (!endedOpen) this.#break(undefined);
    });
    // A connection that is gone closes its streams without an end.
    stream.once('close', () => this.#break(undefined));
  }

  /** Nothing more is told; what still comes is dropped. */
  stop(): void {
    this.#isOver = true;
    this.stream.resume();
  }

  readonly #end = (): void => {
    if (this.#isOver) return;
    this.#isOver = true;
    this.listener.end(this.#trailers);
  };

  #break(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.listener.broken(error);
  }
}
