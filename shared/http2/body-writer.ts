import type { Http2Stream } from 'node:http2';
import type { Body, BodySink } from '../http/body.js';
import type { Headers } from '../http/headers.js';
import { writeFields } from './fields.js';

/**
 * Writes a body to a stream of HTTP/2 that was opened with `waitForTrailers`.
 *
 * Not only for the sake of trailers: Node ends a stream that it resets, and but for them that end would go out first and make a
 * body that broke off look whole. So the end of the stream is sent here alone, when the body has ended.
 */
export class BodyWriter implements BodySink {
  bytesWritten = 0;
  #hasEnded = false;
  #trailers: Headers | undefined;

  constructor(
    private readonly stream: Http2Stream,
    private readonly body: Body,
    /** Called once: with nothing when the message is complete, with the reason when it broke off. */
    private readonly done: (failure?: Error) => void,
    /** Hears that the peer goes on taking bytes. */
    private readonly onProgress?: () => void,
  ) {}

  start(): void {
    this.stream.on('drain', this.#onDrain);
    this.stream.once('wantTrailers', this.#onWantTrailers);
    this.body.pipe(this);
  }

  chunk(data: Buffer): boolean {
    if (this.stream.closed || this.stream.destroyed) return false;
    this.bytesWritten += data.length;
    return this.stream.write(data);
  }

  end(trailers?: Headers): void {
    this.#hasEnded = true;
    this.#trailers = trailers;
    this.stream.end();
  }

  fail(reason: Error): void {
    this.done(reason);
  }

  readonly #onDrain = (): void => {
    this.onProgress?.();
    this.body.resume();
  };

  readonly #onWantTrailers = (): void => {
    if (!this.#hasEnded || this.stream.closed || this.stream.destroyed) return;
    this.stream.sendTrailers(this.#trailers === undefined ? {} : writeFields(this.#trailers, {}));
    this.done();
  };
}
