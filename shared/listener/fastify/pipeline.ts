import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import type { Socket } from 'node:net';
import { headBytes } from './early-refusal.js';

interface Waiting {
  /** What is kept of it, about. */
  readonly bytes: number;
  readonly begin: () => ServerResponse | Http2ServerResponse;
}

/**
 * The requests of one connection of HTTP/1.1, which are carried out one after the other, as they came (RFC 9112 section 9.3.2). Node hands
 * them on as soon as it has read their heads, and reads on. Here nothing more is read while more than `maxWaitingBytes` wait: of what a client
 * sends ahead there is that much, and what one read brings (64 KiB).
 *
 * It is the handle that is stopped, behind Node's back. Node's own way, to pause its parser too, makes an error of what TLS has deciphered
 * already; and what it pauses as a stream is resumed at the end of each message.
 */
export class Pipeline {
  /** One is carried out, or was the last, and those behind it wait. */
  #isBusy = false;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #isHeld = false;
  #isWatched = false;

  constructor(private readonly socket: Socket) {}

  /** Nothing is read: what does not come is not the client's fault. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Begins a request, now or when those before it have had their answers. */
  take(request: IncomingMessage, begin: Waiting['begin']): void {
    if (!this.#isBusy) {
      this.#next(begin);
      return;
    }
    const bytes = bytesOf(request);
    this.#waiting.push({ bytes, begin });
    this.#waitingBytes += bytes;
    if (this.#waiting.length > maxWaiting) this.socket.destroy();
    else if (this.#waitingBytes > maxWaitingBytes) this.#hold();
  }

  #next(begin: Waiting['begin']): void {
    this.#isBusy = true;
    begin().once('close', () => {
      // What comes behind the last request of a connection is nobody's, though Node may have taken it for requests.
      if (!this.socket.writable) {
        this.#waiting.length = 0;
        return;
      }
      this.#isBusy = false;
      const following = this.#waiting.shift();
      if (following === undefined) return;
      this.#waitingBytes -= following.bytes;
      if (this.#waitingBytes <= maxWaitingBytes) this.#release();
      this.#next(following.begin);
    });
  }

  #hold(): void {
    this.#isHeld = true;
    this.#handle?.readStop();
    if (this.#isWatched) return;
    this.#isWatched = true;
    // Behind Node's own, which starts to read.
    this.socket.on('resume', () => {
      if (this.#isHeld) this.#handle?.readStop();
    });
  }

  #release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    // Where a body is not read as fast as it comes Node has stopped by itself, and starts again.
    if (this.#handle?.reading === true) this.#handle.readStart();
  }

  get #handle(): Handle | null | undefined {
    return (this.socket as unknown as { readonly _handle?: Handle | null })._handle;
  }
}

interface Handle {
  /** What Node believes. */
  readonly reading: boolean;
  readStart(): void;
  readStop(): void;
}

/** How many bytes of requests may wait for the one before them until nothing more is read. */
const maxWaitingBytes = 65_536;

/** How many may wait; a connection of more is closed. Few reads bring so many: small ones are held back at a sixteenth of it. */
const maxWaiting = 1_000;

/** What Node's objects for a request take, about, and are counted for. */
const bytesOfObjects = 1_024;

/** A body is read ahead as far as its stream takes it. */
function bytesOf({ headers, rawHeaders, readableHighWaterMark }: IncomingMessage): number {
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  return bytesOfObjects + headBytes(rawHeaders) + (hasBody ? readableHighWaterMark : 0);
}
