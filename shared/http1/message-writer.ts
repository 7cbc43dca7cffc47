import type { Socket } from 'node:net';
import type { Body, BodySink } from '../http/body.js';
import type { Headers } from '../http/headers.js';

/** How a body's end is marked on the wire. */
export type WireFraming = 'none' | 'length' | 'chunked' | 'close';

/**
 * Writes one message to a socket: the head together with the first bytes of the body in one write,
 * then the body as it comes, pausing its source whenever the socket's buffer is full.
 */
export class MessageWriter implements BodySink {
  #head: string | undefined;
  #left: number;
  bytesWritten = 0;

  constructor(
    private readonly socket: Socket,
    head: string,
    private readonly framing: WireFraming,
    private readonly body: Body,
    /** Called once: with nothing when the message is complete, with the reason when it broke off. */
    private readonly done: (failure?: Error) => void,
  ) {
    this.#head = head;
    this.#left = framing === 'length' ? body.length! : 0;
  }

  start(): void {
    if (this.framing === 'none') {
      this.socket.write(this.#head!, 'latin1');
      this.done();
      return;
    }
    this.body.pipe(this);
    this.#flushHead();
  }

  /** To be called when the socket has drained. */
  resume(): void {
    this.body.resume();
  }

  chunk(data: Buffer): boolean {
    if (this.framing === 'length') {
      this.#left -= data.length;
      if (this.#left < 0) {
        const reason = new Error('the body is longer than its Content-Length');
        this.body.cancel(reason);
        this.done(reason);
        return false;
      }
    }
    if (this.framing !== 'chunked') return this.#writeWithHead(data);
    this.bytesWritten += data.length;
    const head = this.#takeHead();
    this.socket.cork();
    this.socket.write(`${head}${data.length.toString(16)}\r\n`, 'latin1');
    this.socket.write(data);
    const wantsMore = this.socket.write('\r\n', 'latin1');
    this.socket.uncork();
    return wantsMore;
  }

  end(trailers?: Headers): void {
    if (this.#left > 0) {
      this.done(new Error('the body is shorter than its Content-Length'));
      return;
    }
    if (this.framing === 'chunked') {
      this.socket.write(`${this.#takeHead()}0\r\n${trailers?.toWire() ?? ''}\r\n`, 'latin1');
    } else {
      this.#flushHead();
    }
    this.done();
  }

  fail(reason: Error): void {
    this.done(reason);
  }

  #takeHead(): string {
    const head = this.#head ?? '';
    this.#head = undefined;
    return head;
  }

  #flushHead(): void {
    if (this.#head !== undefined) this.socket.write(this.#takeHead(), 'latin1');
  }

  #writeWithHead(data: Buffer): boolean {
    this.bytesWritten += data.length;
    const head = this.#head;
    if (head === undefined) return this.socket.write(data);
    this.#head = undefined;
    return writeWhole(this.socket, head, data);
  }
}

/** Writes a head and the bytes behind it at once. `false`: the socket's buffer is full. */
export function writeWhole(socket: Socket, head: string, bytes: Buffer): boolean {
  if (bytes.length === 0) return socket.write(head, 'latin1');
  if (bytes.length <= maxCopiedBytes) {
    // One buffer, one write: copying a small body costs less than a second entry in writev.
    const message = Buffer.allocUnsafe(head.length + bytes.length);
    message.latin1Write(head, 0, head.length);
    bytes.copy(message, head.length);
    return socket.write(message);
  }
  socket.cork();
  socket.write(head, 'latin1');
  const wantsMore = socket.write(bytes);
  socket.uncork();
  return wantsMore;
}

const maxCopiedBytes = 16_384;
