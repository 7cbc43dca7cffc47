import { Buffer } from 'node:buffer';
import type { Headers } from './headers.js';

/** Where a body goes. Exactly one of `end` and `fail` is called, and nothing after it. */
export interface BodySink {
  /** Takes a chunk. `false` asks the source to wait until `resume` is called on the body. */
  chunk(data: Buffer): boolean;
  end(trailers?: Headers): void;
  /** The source broke off: what was received is incomplete and must not look complete. */
  fail(reason: Error): void;
}

/**
 * A message body that is pushed into one sink.
 *
 * Push instead of a Node stream: a stream costs more per message than everything else on the path,
 * and pause, resume, end and failure are all that forwarding needs.
 */
export interface Body {
  /** Bytes in all, when they are known before the first one; otherwise the body goes out chunked. */
  readonly length: number | undefined;
  /** The body itself, when all of it is in memory already. */
  readonly whole: WholeBody | undefined;
  /** Of a request's body that is not whole from the beginning: how it comes, where its listener can tell. */
  readonly arrival?: Arrival | undefined;
  /** Starts delivery. A body has one sink, once. */
  pipe(sink: BodySink): void;
  /** Goes on after the sink said `false`. */
  resume(): void;
  /** Nobody will read what is left: the source may stop producing and free what it holds. */
  cancel(reason: Error): void;
}

/** How a body comes from the client that sends it. */
export interface Arrival {
  /** Its last byte was read. */
  readonly isComplete: boolean;
  /** What is missing is the client's to send: all that came was taken. What goes on too long meanwhile says nothing of the endpoint. */
  readonly isOwed: boolean;
  /** For how long the client was awaited, up to now (clock reading, ms): for more of the body, while we wanted more. It says nothing, and is 0, where a body stays open by design. */
  awaitedMs(now: number): number;
  /** The same of every body, for what is learned of the endpoint: what a stream takes that is open by design is not its doing. */
  sendingMs(now: number): number;
}

/** A body that is whole in memory: as bytes, or as text of one character for each byte (Latin-1), which is the least work where it only goes out again behind a head. */
export class WholeBody implements Body {
  readonly length: number;
  /** Undefined where it came as bytes. */
  readonly text: string | undefined;
  #bytes: Buffer | undefined;

  constructor(content: Buffer | string) {
    this.length = content.length;
    if (typeof content === 'string') this.text = content;
    else this.#bytes = content;
  }

  get bytes(): Buffer {
    return (this.#bytes ??= Buffer.from(this.text!, 'latin1'));
  }

  get whole(): this {
    return this;
  }

  pipe(sink: BodySink): void {
    if (this.length > 0) sink.chunk(this.bytes);
    sink.end();
  }
  resume(): void {}
  cancel(): void {}
}

/** No body at all; shared, since it has no state. */
export const emptyBody: Body = new WholeBody('');

/** What a `StreamBody` asks of whoever fills it. Each is told which body asks: what fills one after another answers to the one under way. */
export interface BodySource {
  pause(body: StreamBody): void;
  resume(body: StreamBody): void;
  /** Not called any more once the body has had its `end` or `fail`. */
  cancel(reason: Error, body: StreamBody): void;
}

/**
 * A body that arrives piece by piece.
 *
 * Pieces that come before a sink is attached are held, and the source is paused as soon as the first
 * one is; so at most one read of the socket is ever held here.
 */
export class StreamBody implements Body {
  readonly whole = undefined;
  #sink: BodySink | undefined;
  #held: Buffer[] = [];
  #outcome: { trailers?: Headers | undefined; failure?: Error } | undefined;
  #cancelled = false;
  /** It had its `end` or `fail`. */
  #isOver = false;

  constructor(
    readonly length: number | undefined,
    readonly source: BodySource,
    readonly arrival?: Arrival,
  ) {}

  push(data: Buffer): void {
    if (this.#cancelled) return;
    if (this.#sink === undefined) {
      this.#held.push(data);
      this.source.pause(this);
    } else if (!this.#sink.chunk(data)) {
      this.source.pause(this);
    }
  }

  end(trailers?: Headers): void {
    this.#isOver = true;
    if (this.#sink !== undefined && !this.#cancelled) this.#sink.end(trailers);
    else this.#outcome ??= { trailers };
  }

  fail(reason: Error): void {
    this.#isOver = true;
    if (this.#sink !== undefined && !this.#cancelled) this.#sink.fail(reason);
    else this.#outcome ??= { failure: reason };
  }

  pipe(sink: BodySink): void {
    if (this.#sink !== undefined) throw new Error('a body has one sink');
    this.#sink = sink;
    const held = this.#held;
    this.#held = [];
    let wantsMore = true;
    for (const data of held) {
      wantsMore = sink.chunk(data);
      if (this.#cancelled) return;
    }
    if (this.#outcome?.failure !== undefined) sink.fail(this.#outcome.failure);
    else if (this.#outcome !== undefined) sink.end(this.#outcome.trailers);
    else if (wantsMore) this.source.resume(this);
  }

  resume(): void {
    this.source.resume(this);
  }

  cancel(reason: Error): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#held = [];
    if (!this.#isOver) this.source.cancel(reason, this);
  }
}

/** Reads a body into memory; rejects with `onTooLarge()` and cancels the source past `maxBytes`. */
export function collect(body: Body, maxBytes: number, onTooLarge: () => Error): Promise<Buffer> {
  if (body.whole !== undefined && body.whole.length <= maxBytes) return Promise.resolve(body.whole.bytes);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    body.pipe({
      chunk(data) {
        size += data.length;
        if (size > maxBytes) {
          const error = onTooLarge();
          body.cancel(error);
          reject(error);
          return false;
        }
        chunks.push(data);
        return true;
      },
      end: () => resolve(Buffer.concat(chunks, size)),
      fail: reject,
    });
  });
}
