import type { Socket } from 'node:net';
import type { Connection } from '../connection.js';

/** How every connection of HTTP/2 begins (RFC 9113 section 3.4): no request of HTTP/1.x does. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/**
 * A connection whose first bytes are still to come, on a listener that speaks HTTP/1.x and HTTP/2 without TLS: they tell which it
 * is. What was read is put back, so that whoever takes the connection over sees it from its beginning; and from then on this
 * costs nothing.
 */
export class UndecidedConnection implements Connection {
  readonly peer = undefined;
  #isSilent = true;

  constructor(
    private readonly socket: Socket,
    /** Clock reading (ms) until which it must have decided. */
    public deadline: number,
    private readonly decide: (isHttp2: boolean) => void,
  ) {
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
  }

  onDeadline(): void {
    this.socket.destroy();
  }

  closeIfIdle(): void {
    if (this.#isSilent) this.socket.destroy();
  }

  retire(): void {
    this.socket.destroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  readonly #onData = (data: Buffer): void => {
    this.#isSilent = false;
    const compared = Math.min(data.length, preface.length);
    const isPreface = data.subarray(0, compared).equals(preface.subarray(0, compared));
    if (isPreface && compared < preface.length) {
      // What is put back comes again with what follows it; it is looked at when there is more.
      this.#awaitMore(data);
      return;
    }
    this.socket.off('data', this.#onData);
    this.socket.off('end', this.#onEnd);
    this.socket.pause();
    this.socket.unshift(data);
    this.decide(isPreface);
  };

  #awaitMore(data: Buffer): void {
    this.socket.off('data', this.#onData);
    this.socket.once('data', (more: Buffer) => {
      this.socket.on('data', this.#onData);
      this.#onData(Buffer.concat([data, more]));
    });
  }

  readonly #onEnd = (): void => {
    this.socket.destroy();
  };
}
