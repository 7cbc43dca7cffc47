import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { authorityOf } from '../config/units.js';
import { isBrokenOff, ProxyError } from '../errors/proxy-error.js';
import { emptyBody, StreamBody, type Body, type BodySource } from '../http/body.js';
import { breakOff } from '../http/break-off.js';
import type { Cancellable } from '../http/cancellation.js';
import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { hasReset } from '../http/has-reset.js';
import type { HttpRequest } from '../http/message.js';
import { TunnelEnd } from '../http/tunnel.js';
import { bodyDecoder, type BodyDecoder } from '../http1/body-decoder.js';
import { HeadLines, scanHead } from '../http1/head.js';
import { removeHopByHop } from '../http1/hop-by-hop.js';
import { keepAliveSeconds } from '../http1/keep-alive.js';
import { MessageWriter, type WireFraming } from '../http1/message-writer.js';
import { wholeBody, wordsOf } from '../http1/read-buffer.js';
import { SocketWriter } from '../http1/socket-writer.js';
import { parseResponseHead, type ResponseHead } from '../http1/response-head.js';
import type { Attempt } from './attempt.js';
import type { ConnectionPool } from './connection-pool.js';

/** Of the head that is being read: it is scanned and parsed in one go. */
const headLines = new HeadLines();

/**
 * One connection to an endpoint, carrying one exchange at a time.
 *
 * `idle` in the pool; `head` while the response's head is awaited; `body` while its body comes; `tunnel` once both sides
 * have switched to another protocol. It goes back
 * to the pool only when the response ended within its framing, the request was sent whole, and both
 * sides want to keep it; in every other case it is closed, so that no byte of one exchange can ever be taken
 * for part of another.
 */
export class Http1UpstreamConnection implements Cancellable {
  deadline = Infinity;
  /** It has carried an exchange: by now the endpoint may have closed it. */
  isUsed = false;
  /** How long (ms) it is kept unused. */
  idleTimeout: number;
  /** A failure while nothing of the response was received may be the keep-alive race. */
  #nothingReceived = true;
  readonly #socket: Socket;
  readonly #to: SocketWriter;
  readonly #pool: ConnectionPool;
  #state: 'idle' | 'head' | 'body' | 'tunnel' | 'closed' = 'idle';
  #held: Buffer | undefined;
  /** What it carries, until the response is over; `#awaited` as long as its head is still to come. */
  #attempt: Attempt | undefined;
  /** The status of the answer whose body comes was no failure. */
  #isGood = false;
  #isAwaited = false;
  #requestSent = false;
  /** What the answers before the answer have taken (bytes). */
  #interimBytes = 0;
  #writer: MessageWriter | undefined;
  #decoder: BodyDecoder | undefined;
  #body: StreamBody | undefined;
  #tunnel: TunnelEnd | undefined;
  /** Of a tunnel whose client is gone: what the endpoint had yet to take when that was last looked at (bytes). */
  #leftOver = 0;
  #keepAlive = false;
  /** The body ends when the peer closes, and only then. */
  #endsWithConnection = false;

  constructor(socket: Socket, pool: ConnectionPool) {
    this.#socket = socket;
    this.#to = new SocketWriter(socket, true);
    this.#pool = pool;
    this.idleTimeout = pool.limits.idleTimeout;
    socket.on('drain', () => (this.#tunnel === undefined ? this.#writer?.resume() : this.#tunnel.drained()));
    socket.on('end', this.#onEnd);
    socket.on('error', (error) => this.#break(new ProxyError('upstream_reset', { cause: error })));
    socket.on('close', () => this.#break(new ProxyError('upstream_reset')));
  }

  get isUsable(): boolean {
    return this.#state === 'idle' && !this.#socket.destroyed && this.#socket.writable;
  }

  send(attempt: Attempt): void {
    const { request } = attempt;
    this.#state = 'head';
    this.#attempt = attempt;
    this.#isAwaited = true;
    this.#requestSent = false;
    this.#interimBytes = 0;
    this.#keepAlive = true;
    this.deadline = Infinity;
    this.#nothingReceived = true;
    request.cancellation.subscribe(this);
    if (!request.cancellation.isCancelled) this.#write(request);
  }

  /** Nobody waits for the exchange that it carries any more. */
  cancel(reason: Error): void {
    this.#break(reason);
  }

  close(): void {
    this.#break(new ProxyError('upstream_reset'));
  }

  onDeadline(): void {
    if (this.#state === 'idle') this.close();
    else if (this.#state === 'body' && !this.#socket.isPaused()) this.#break(new ProxyError('upstream_timeout'));
    else if (this.#state === 'tunnel') this.#checkLeftOver();
  }

  #write(request: HttpRequest): void {
    const { method, target, headers, body } = request;
    let framing: WireFraming = 'length';
    let field = '';
    if (body.length === undefined) {
      framing = 'chunked';
      field = 'Transfer-Encoding: chunked\r\n';
      headers.delete('content-length');
    } else if (body.length === 0 && !headers.hasKind(fieldKind.contentLength)) {
      framing = 'none';
    } else if (!headers.hasKind(fieldKind.contentLength)) {
      field = `Content-Length: ${body.length}\r\n`;
    }
    // HTTP/1.0 clients may leave Host out; HTTP/1.1 upstreams must get one.
    if (!headers.hasKind(fieldKind.host)) headers.set('Host', authorityOf(this.#pool.address));
    if (request.upgrade !== undefined) field = `${field}Connection: Upgrade\r\nUpgrade: ${request.upgrade}\r\n`;
    const head = `${method} ${target} HTTP/1.1\r\n${headers.toWire()}${field}\r\n`;
    if (body.whole !== undefined) {
      this.#to.whole(head, body.whole);
      this.#requestSent = true;
      return;
    }
    this.#writer = new MessageWriter(this.#to, head, framing, body, (failure) => {
      if (this.#attempt?.request !== request) return;
      if (failure !== undefined) this.#break(failure);
      else this.#requestSent = true;
    });
    this.#writer.start();
  }

  /** Takes bytes off the wire. They are only lent: what is kept is copied. `words` is the same, to be read several at a time. */
  receive(data: Buffer, words: DataView): void {
    this.#nothingReceived = false;
    if (this.#state === 'body') {
      this.#readBody(Buffer.from(data), 0);
      return;
    }
    if (this.#tunnel !== undefined) {
      this.#tunnel.received(Buffer.from(data));
      return;
    }
    if (this.#state !== 'head') {
      // Bytes that nobody asked for: whose answer they would become is not to be found out.
      this.close();
      return;
    }
    try {
      const held = this.#held;
      if (held === undefined) {
        this.#readHead(data, words, 0);
      } else {
        const both = Buffer.concat([held, data]);
        this.#readHead(both, wordsOf(both), held.length);
      }
    } catch (error) {
      this.#break(new ProxyError('upstream_protocol', { cause: error }));
    }
  }

  /** `from`: what was looked at before. */
  #readHead(data: Buffer, words: DataView, from: number): void {
    const { maxHeadBytes } = this.#pool.limits;
    let start = 0;
    for (;;) {
      const end = scanHead(data, words, start, from, headLines);
      if ((end === -1 ? data.length : end) - start > maxHeadBytes) throw new Error(`a response head of more than ${maxHeadBytes} bytes`);
      if (end === -1) {
        this.#held = Buffer.from(data.subarray(start));
        return;
      }
      const head = parseResponseHead(data, start, end, this.#attempt!.request.method, headLines);
      if (head.status >= 200) {
        this.#held = undefined;
        this.#begin(head, data, end);
        return;
      }
      if (head.status === 101) {
        this.#switch(head, data.subarray(end));
        return;
      }
      this.#interimBytes += end - start;
      if (this.#interimBytes > maxHeadBytes) throw new Error(`interim responses of more than ${maxHeadBytes} bytes`);
      this.#attempt!.exchange.inform?.(head.status, head.headers);
      // The exchange may have ended while its client was informed.
      if (this.#state !== 'head') return;
      start = end;
      from = end;
    }
  }

  /** The upstream speaks another protocol from here on. The connection stays counted, and never carries HTTP again. */
  #switch({ status, headers }: ResponseHead, rest: Buffer): void {
    const attempt = this.#attempt!;
    const { upgrade } = attempt.request;
    const chosen = headers.getCombined('upgrade')?.toLowerCase();
    if (upgrade === undefined || chosen !== upgrade) throw new Error('a switch of protocols that was not asked for');
    removeHopByHop(headers);
    if (this.#to.resetBy !== undefined) throw this.#to.resetBy;
    this.#to.endWithReset();
    const tunnel = new TunnelEnd(this.#socket);
    tunnel.onLeftOver = () => this.#awaitTaking();
    this.#release();
    this.#state = 'tunnel';
    this.#tunnel = tunnel;
    if (rest.length > 0) tunnel.received(Buffer.from(rest));
    else this.#socket.pause();
    attempt.respond({ status, headers, body: emptyBody, tunnel }, this.#pool.clock.now());
  }

  #awaitTaking(): void {
    this.#leftOver = this.#socket.writableLength;
    this.deadline = this.#pool.clock.now() + this.#pool.limits.bodyIdleTimeout;
  }

  /** An endpoint that takes what the client left behind has time for it. */
  #checkLeftOver(): void {
    if (this.#socket.writableLength < this.#leftOver) this.#awaitTaking();
    else breakOff(this.#socket);
  }

  #begin(head: ResponseHead, data: Buffer, end: number): void {
    const { framing } = head;
    this.#keepAlive = head.keepAlive;
    this.#endsWithConnection = framing.kind === 'close';
    if (!this.isUsed) this.#heedKeepAlive(head.headers);
    removeHopByHop(head.headers);
    let body: Body = emptyBody;
    if (framing.kind === 'length' && data.length - end >= framing.length) {
      body = wholeBody(data, end, end + framing.length, true);
      end += framing.length;
    } else if (framing.kind !== 'none') {
      body = this.#openBody(framing.kind === 'length' ? framing.length : undefined);
      this.#decoder = bodyDecoder(framing)!;
      this.#isGood = head.status < 500;
    }
    const now = this.#pool.clock.now();
    const attempt = this.#attempt!;
    this.#state = 'body';
    if (this.#decoder === undefined) this.#complete(now, end < data.length);
    // One that is broken in what came with its head is no answer yet: the attempt has failed, and whoever judges by heads must not see one.
    else if (end < data.length && !this.#readBody(Buffer.from(data.subarray(end)), 0)) return;
    this.#isAwaited = false;
    attempt.respond({ status: head.status, headers: head.headers, body }, now);
  }

  /** With its first answer an endpoint may say how long it keeps the connection (RFC 2068 section 19.7.1.1). */
  #heedKeepAlive(headers: Headers): void {
    const seconds = keepAliveSeconds(headers);
    if (seconds === undefined) return;
    if (seconds === 0) this.#keepAlive = false;
    const { idleTimeout, maxIdleTimeout } = this.#pool.limits;
    this.idleTimeout = Math.min(Math.max(idleTimeout, maxIdleTimeout), seconds < 2 ? seconds * 500 : (seconds - 1) * 1_000);
  }

  #openBody(length: number | undefined): StreamBody {
    this.deadline = this.#pool.clock.now() + this.#pool.limits.bodyIdleTimeout;
    this.#body = new StreamBody(length, this.#source);
    return this.#body;
  }

  /** What the body under way asks. One that has come whole may still be on its way to its client: the connection is another request's by then. */
  readonly #source: BodySource = {
    pause: (body) => {
      if (body === this.#body) this.#socket.pause();
    },
    resume: (body) => {
      if (body !== this.#body) return;
      this.deadline = this.#pool.clock.now() + this.#pool.limits.bodyIdleTimeout;
      this.#socket.resume();
    },
    cancel: (reason, body) => {
      if (body === this.#body) this.#break(reason);
    },
  };

  /** Returns whether it can be read. */
  #readBody(data: Buffer, offset: number): boolean {
    const decoder = this.#decoder!;
    const body = this.#body!;
    const now = this.#pool.clock.now();
    this.deadline = now + this.#pool.limits.bodyIdleTimeout;
    try {
      offset = decoder.decode(data, offset, (chunk) => body.push(chunk));
    } catch (error) {
      this.#break(new ProxyError('upstream_protocol', { cause: error }));
      return false;
    }
    if (!decoder.done || this.#decoder !== decoder) return true;
    this.#body = undefined;
    this.#complete(now, offset < data.length);
    body.end(decoder.trailers);
    return true;
  }

  /** The response is whole. Bytes beyond it make the connection suspect: it is closed. */
  #complete(now: number, hasExtraBytes: boolean): void {
    const mayBeKept = this.#keepAlive && this.#requestSent && !hasExtraBytes;
    this.#release();
    if (!mayBeKept) {
      this.#state = 'closed';
      this.#socket.destroy();
      this.#pool.remove(this);
      return;
    }
    this.#state = 'idle';
    this.isUsed = true;
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#pool.giveBack(this, now);
  }

  readonly #onEnd = (): void => {
    if (this.#to.resetBy !== undefined || hasReset(this.#socket)) {
      this.#break(new ProxyError('upstream_reset', { cause: this.#to.resetBy }));
      return;
    }
    if (this.#tunnel !== undefined) {
      this.#tunnel.ended();
      return;
    }
    const body = this.#body;
    if (body !== undefined && this.#endsWithConnection) {
      this.#body = undefined;
      this.#complete(this.#pool.clock.now(), false);
      body.end();
      return;
    }
    this.#break(new ProxyError('upstream_reset'));
  };

  /** Ends the connection, and with `reason` whatever it carries. */
  #break(reason: Error): void {
    if (this.#state === 'closed') return;
    const attempt = this.#attempt;
    const isAwaited = this.#isAwaited;
    const body = this.#body;
    this.#body = undefined;
    this.#tunnel?.closed();
    this.#state = 'closed';
    this.#release();
    this.#socket.destroy();
    this.#pool.remove(this);
    if (attempt === undefined) return;
    if (isAwaited) {
      attempt.fail(reason, this.#nothingReceived);
    } else if (body !== undefined) {
      const failure = reason instanceof ProxyError && reason.code === 'upstream_reset' ? new ProxyError('upstream_truncated', { cause: reason.cause }) : reason;
      if (this.#isGood && isBrokenOff(failure)) this.#pool.onBrokenOff?.(attempt.exchange);
      body.fail(failure);
    }
  }

  #release(): void {
    this.#attempt?.request.cancellation.unsubscribe(this);
    this.#held = undefined;
    this.#attempt = undefined;
    this.#isAwaited = false;
    this.#writer = undefined;
    this.#decoder = undefined;
    this.deadline = Infinity;
  }
}
