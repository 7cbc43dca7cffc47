import { constants, type Http2Stream } from 'node:http2';
import type { Headers } from '../http/headers.js';
import { closeStream } from './close-stream.js';
import { readTrailers } from './fields.js';

/** What a reader tells. Exactly one of `end` and `broken` is called, and nothing after it. */
interface BodyListener {
  chunk(data: Buffer): void;
  end(trailers: Headers | undefined): void;
  broken(error: Error | undefined): void;
}

/**
 * Reads the body of a stream of HTTP/2, and tells one that ended from one that broke off: Node ends the readable side in either
 * case. So it is noted when the end comes, not when it is delivered: by then a stream that ended well may be closed too. It may come
 * before anything else is known of the stream, and therefore a reader is made with the stream.
 */
export class BodyReader {
  #listener: BodyListener | undefined;
  #trailers: Headers | undefined;
  #hasEnded: boolean;
  #malformed: Error | undefined;
  #isOver = false;

  constructor(private readonly stream: Http2Stream) {
    // What came with its head has been pushed before anybody heard of the stream; there is no other way to see that it has ended.
    this.#hasEnded = (stream as unknown as { readonly _readableState: { readonly ended: boolean } })._readableState.ended && !stream.closed;
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
      // A reset marks the stream as closed before it ends it; the peer's END_STREAM comes to an open one.
      if (chunk === null && !stream.closed) this.#hasEnded = true;
      return push(chunk, encoding);
    };
    stream.once('trailers', this.#onTrailers);
  }

  /** Tells `listener` of everything from the beginning; once. */
  read(listener: BodyListener): void {
    this.#listener = listener;
    const { stream } = this;
    stream.on('data', (data: Buffer) => {
      if (!this.#isOver) listener.chunk(data);
    });
    stream.once('end', () => {
      // Trailers end the stream, but are told of a moment after that.
      if (this.#hasEnded) process.nextTick(this.#end);
      else this.#break(undefined);
    });
    stream.once('aborted', () => {
      if (!this.#hasEnded) this.#break(undefined);
    });
    // A connection that is gone closes its streams without an end.
    stream.once('close', () => this.#break(undefined));
  }

  /** Nothing more is told; what still comes is dropped. */
  stop(): void {
    this.#isOver = true;
    this.stream.resume();
  }

  readonly #onTrailers = (_fields: unknown, _flags: number, raw: readonly string[] = []): void => {
    try {
      this.#trailers = readTrailers(raw);
    } catch (error) {
      this.#malformed = error as Error;
      closeStream(this.stream, constants.NGHTTP2_PROTOCOL_ERROR);
    }
  };

  readonly #end = (): void => {
    if (this.#isOver) return;
    if (this.#malformed !== undefined) {
      this.#break(this.#malformed);
      return;
    }
    this.#isOver = true;
    this.#listener!.end(this.#trailers);
  };

  #break(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#listener!.broken(error);
  }
}
