import type { Body, BodySink } from '../http/body.js';
import type { Headers } from '../http/headers.js';
import type { SocketWriter } from './socket-writer.js';

/** How a body's end is marked on the wire. */
export type WireFraming = 'none' | 'length' | 'chunked' | 'close';

/**
 * Writes one message to a socket: the head together with the first bytes of the body in one write,
 * then the body as it comes, pausing its source whenever the socket's buffer is full.
 */
export class MessageWriter implements BodySink {
  #head: string | undefined;
  #left: number;
  #isFull = false;
  bytesWritten = 0;

  constructor(
    private readonly to: SocketWriter,
    head: string,
    private readonly framing: WireFraming,
    private readonly body: Body,
    /** Called once: with nothing when the message is complete, with the reason when it broke off. */
    private readonly done: (failure?: Error) => void,
    /** Called whenever the socket has become full, and the source waits for it. */
    private readonly onFull?: () => void,
  ) {
    this.#head = head;
    this.#left = framing === 'length' ? body.length! : 0;
  }

  start(): void {
    if (this.framing === 'none') {
      this.to.text(this.#head!);
      this.done();
      return;
    }
    this.body.pipe(this);
    this.#flushHead();
  }

  /** To be called when the socket has drained. */
  resume(): void {
    this.#isFull = false;
    this.body.resume();
  }

  chunk(data: Buffer): boolean {
    const wantsMore = this.#write(data);
    if (!wantsMore && !this.#isFull) {
      this.#isFull = true;
      this.onFull?.();
    }
    return wantsMore;
  }

  #write(data: Buffer): boolean {
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
    const { socket } = this.to;
    socket.cork();
    socket.write(`${head}${data.length.toString(16)}\r\n`, 'latin1');
    socket.write(data);
    const wantsMore = socket.write('\r\n', 'latin1');
    socket.uncork();
    return wantsMore;
  }

  end(trailers?: Headers): void {
    if (this.#left > 0) {
      this.done(new Error('the body is shorter than its Content-Length'));
      return;
    }
    if (this.framing === 'chunked') {
      this.to.text(`${this.#takeHead()}0\r\n${trailers?.toWire() ?? ''}\r\n`);
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
    if (this.#head !== undefined) this.to.text(this.#takeHead());
  }

  #writeWithHead(data: Buffer): boolean {
    this.bytesWritten += data.length;
    const head = this.#head;
    if (head === undefined) return this.to.socket.write(data);
    this.#head = undefined;
    return this.to.message(head, data);
  }
}
