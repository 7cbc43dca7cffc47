import { finished, Readable } from 'node:stream';
import { ProxyError } from '../errors/proxy-error.js';
import type { Arrival, Body, BodySink } from './body.js';
import { fieldKind } from './field-names.js';
import { Headers } from './headers.js';

/** A Node stream as the body of a client's message. */
export class ReadableBody implements Body {
  readonly whole = undefined;
  /** Nothing more is told of it. */
  #isOver = false;

  constructor(
    private readonly readable: Readable & { readonly rawTrailers?: readonly string[] },
    readonly length: number | undefined,
    /** Hears of each chunk before it goes on; what it throws ends the body. */
    private readonly onChunk: (chunk: Buffer) => void,
    readonly arrival?: Arrival,
  ) {}

  pipe(sink: BodySink): void {
    const { readable } = this;
    readable.on('data', (chunk: Buffer) => {
      try {
        this.onChunk(chunk);
      } catch (error) {
        this.#drop();
        sink.fail(error as Error);
        return;
      }
      if (!sink.chunk(chunk)) readable.pause();
    });
    // Also tells of what happened before: a request may have broken off while it was on its way here.
    finished(readable, { writable: false }, (error) => {
      if (this.#isOver) return;
      if (error) {
        sink.fail(new ProxyError('client_closed', { cause: error }));
        return;
      }
      const trailers = Headers.empty();
      const { rawTrailers = [] } = readable;
      for (let index = 0; index < rawTrailers.length; index += 2) trailers.append(rawTrailers[index]!, rawTrailers[index + 1]!);
      trailers.deleteKind(fieldKind.notInTrailers);
      sink.end(trailers.size === 0 ? undefined : trailers);
    });
  }

  resume(): void {
    this.readable.resume();
  }

  cancel(): void {
    this.#drop();
  }

  #drop(): void {
    this.#isOver = true;
    this.readable.removeAllListeners('data');
    this.readable.resume();
  }
}

/** A message body as a Node stream; `onFail` hears why it broke off, and says with what the stream ends. */
export class BodyReadable extends Readable {
  #started = false;
  bytes = 0;

  constructor(
    private readonly body: Body,
    private readonly onFail: (reason: Error) => Error,
  ) {
    super({ highWaterMark: 65_536 });
  }

  override _read(): void {
    if (this.#started) {
      this.body.resume();
      return;
    }
    this.#started = true;
    this.body.pipe({
      chunk: (data) => {
        this.bytes += data.length;
        return this.push(data);
      },
      end: () => void this.push(null),
      fail: (reason) => {
        this.destroy(this.onFail(reason));
      },
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.readableEnded) this.body.cancel(error ?? new Error('nobody reads the answer'));
    done(error);
  }
}
