import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { emptyBody, type Body } from '../../http/body.js';
import { Exchange, type Peer } from '../../http/exchange.js';
import { fieldKind } from '../../http/field-names.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import type { TunnelEnd } from '../../http/tunnel.js';
import { scanHead } from '../../http1/head.js';
import { removeHopByHop } from '../../http1/hop-by-hop.js';
import { Http1Error } from '../../http1/http1-error.js';
import { MessageWriter } from '../../http1/message-writer.js';
import { copyOf, wholeBody, wordsOf } from '../../http1/read-buffer.js';
import { parseRequestHead, type RequestHead } from '../../http1/request-head.js';
import { SocketWriter } from '../../http1/socket-writer.js';
import { statusLine } from '../../http1/status-line.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { halfCloseGraceMs, type Http1Listener } from '../http1-listener.js';
import { violationToError } from '../violations.js';
import { ClientTunnel } from './client-tunnel.js';
import { checkExpectation } from './expectation.js';
import { hasReset } from './has-reset.js';
import { IncomingBody } from './incoming-body.js';
import { lendReads } from './lend-reads.js';
import { requestedUpgrade } from './requested-upgrade.js';
import { responseFramingFor, responseHead } from './response-framing.js';

/**
 * One client connection.
 *
 * `head`: waiting for, or in the middle of, a request head. `exchange`: a request was handed to the
 * stack; its body may still be arriving and its answer going out. `tunnel`: both sides switched to another protocol, and
 * bytes pass as they are. `closing`: the last answer was sent and what the client still sends is thrown away, so
 * that the answer is not lost to a reset. One exchange at a time: pipelined requests wait in `#held`, with the
 * socket paused when there are many, and are answered in order; and none is read while the client does not take what it was answered.
 */
export class Http1Connection {
  deadline: number;
  readonly #socket: Socket;
  readonly #to: SocketWriter;
  readonly #listener: Http1Listener;
  readonly #clientAddress: string;
  #state: 'head' | 'exchange' | 'tunnel' | 'closing' = 'head';
  #held: Buffer | undefined;
  /** What is held is about to be consumed; bytes that come before that go behind it. */
  #resumesSoon = false;
  /** Where the bytes that are looked at now are lent from. They will be others later: what is kept of them is copied. */
  #lentFrom: DataView | undefined;
  #isConsuming = false;
  /** What came while other bytes were looked at. */
  #early: Buffer | undefined;
  #startedAt = 0;

  #exchange: Exchange | undefined;
  #head: RequestHead | undefined;
  /** The request's body, until its last byte was read. */
  #body: IncomingBody | undefined;
  #bodyBytes = 0;
  #writer: MessageWriter | undefined;
  #responseStarted = false;
  #keepAlive = true;
  #clientEnded = false;
  #requests = 0;
  /** Since when the client has not taken what was written for it (ms). */
  #blockedSince = 0;
  /** The next request waits until the client has taken the answers before it. */
  #waitsForDrain = false;
  #tunnel: ClientTunnel | undefined;

  constructor(
    socket: Socket,
    clientAddress: string,
    listener: Http1Listener,
    readonly peer: Peer | undefined,
  ) {
    this.#socket = socket;
    this.#to = new SocketWriter(socket);
    this.#listener = listener;
    this.#clientAddress = clientAddress;
    this.deadline = this.#now() + listener.options.limits.headTimeout;
    lendReads(socket, (data, words) => this.#receive(data, words));
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
  }

  closeIfIdle(): void {
    if (this.#state !== 'head' || this.#held !== undefined) return;
    if (this.#waitsForDrain || this.#to.hasUnsent) this.#closeGently();
    else this.#socket.destroy();
  }

  /** What has begun to arrive is still answered. */
  retire(): void {
    this.#requests = Infinity;
    if (this.#state === 'exchange') this.#keepAlive = false;
    else this.closeIfIdle();
  }

  /** Answers whatever the client is about to ask with an error, and closes. */
  refuse(error: ProxyError): void {
    this.#refuse(error);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  onDeadline(): void {
    switch (this.#state) {
      case 'closing':
        this.#socket.destroy();
        break;
      case 'head':
        if (this.#held === undefined || this.#waitsForDrain) this.#socket.destroy();
        else this.#refuse(new ProxyError('request_timeout'));
        break;
      case 'tunnel':
        this.#checkTunnel(this.#tunnel!);
        break;
      case 'exchange':
        this.#checkExchange();
    }
  }

  #checkExchange(): void {
    const now = this.#now();
    const { writeTimeout } = this.#listener.options.limits;
    if (this.#socket.isPaused() && hasReset(this.#socket)) {
      this.#abandon(new ProxyError('client_closed'));
    } else if (this.#responseStarted && this.#socket.writableNeedDrain && now - this.#blockedSince >= writeTimeout) {
      this.#abandon(new ProxyError('client_stalled'));
    } else if (this.#clientEnded && !this.#responseStarted) {
      this.#abandon(new ProxyError('client_closed'));
    } else if (this.#body !== undefined && !this.#body.isPaused && this.#body.deadline <= now) {
      this.#failRequestBody(new ProxyError('request_timeout'));
    } else {
      this.deadline = this.#exchangeDeadline(now);
    }
  }

  /** When the exchange in progress has to be looked at next. */
  #exchangeDeadline(now: number): number {
    const { writeTimeout } = this.#listener.options.limits;
    let due = this.#body === undefined || this.#body.isPaused ? Infinity : this.#body.deadline;
    // It cannot tell that its client has left.
    if (this.#socket.isPaused()) due = Math.min(due, this.#within(pausedGlanceMs));
    if (this.#responseStarted) due = Math.min(due, (this.#socket.writableNeedDrain ? this.#blockedSince : now) + writeTimeout);
    return due;
  }

  #receive(data: Buffer, lentFrom?: DataView): void {
    if (this.#state === 'closing') return;
    if (this.#tunnel !== undefined) {
      this.#tunnel.received(lentFrom === undefined ? data : Buffer.from(data));
      return;
    }
    if (this.#isConsuming) {
      // TLS hands over what it has decrypted also from within a write of ours.
      this.#early = this.#early === undefined ? Buffer.from(data) : Buffer.concat([this.#early, data]);
      return;
    }
    const held = this.#held;
    if (held === undefined) {
      this.#consume(data, 0, lentFrom);
    } else if (this.#resumesSoon) {
      this.#held = Buffer.concat([held, data]);
    } else {
      this.#held = undefined;
      this.#consume(Buffer.concat([held, data]), held.length);
    }
  }

  /** `scanned`: the part of `data` that was looked at before, and held no whole head. */
  #consume(data: Buffer, scanned: number, lentFrom?: DataView): void {
    this.#isConsuming = true;
    this.#lentFrom = lentFrom;
    this.#read(data, scanned);
    this.#isConsuming = false;
    const early = this.#early;
    if (early === undefined) return;
    this.#early = undefined;
    this.#receive(early);
  }

  #read(data: Buffer, scanned: number): void {
    let offset = 0;
    while (offset < data.length) {
      if (this.#body !== undefined) {
        if (this.#lentFrom !== undefined) {
          data = this.#kept(data, offset);
          offset = 0;
          this.#lentFrom = undefined;
        }
        offset = this.#readBody(data, offset);
        if (offset === -1) return;
      } else if (this.#state === 'head') {
        const next = this.#readHead(data, offset, scanned);
        if (next === -1) return;
        offset = next;
      } else {
        // A pipelined request: it waits until the exchange before it is over.
        const held = this.#kept(data, offset);
        this.#held = held;
        if (this.#state === 'exchange' && held.length >= maxHeldBytes) {
          this.#socket.pause();
          this.deadline = Math.min(this.deadline, this.#exchangeDeadline(this.#now()));
        }
        return;
      }
    }
  }

  /** `data` from `start` on, to be kept beyond this read. */
  #kept(data: Buffer, start: number): Buffer {
    if (this.#lentFrom !== undefined) return copyOf(data, start, data.length);
    return start === 0 ? data : data.subarray(start);
  }

  /** Returns the offset behind the head, or -1 when it is incomplete or was refused. */
  #readHead(data: Buffer, offset: number, scanned: number): number {
    const { limits } = this.#listener.options;
    // RFC 9112 section 2.2: an empty line before a request is ignored.
    if (data[offset] === 13 && data[offset + 1] === 10) offset += 2;
    if (offset === data.length) return offset;
    if (this.#startedAt === 0) {
      this.#startedAt = this.#now();
      this.deadline = this.#startedAt + limits.headTimeout;
    }
    try {
      const end = scanHead(data, this.#lentFrom ?? wordsOf(data), offset, Math.max(offset, scanned));
      if ((end === -1 ? data.length : end) - offset > limits.maxHeadBytes) {
        throw new Http1Error('head_too_large', `a head of more than ${limits.maxHeadBytes} bytes`);
      }
      if (end === -1) {
        this.#held = this.#kept(data, offset);
        return -1;
      }
      return this.#begin(parseRequestHead(data, offset, end, limits), data, end);
    } catch (error) {
      this.#refuse(violationToError(error));
      return -1;
    }
  }

  /** Hands a request to the stack. Returns the offset behind what was consumed of it. */
  #begin(head: RequestHead, data: Buffer, end: number): number {
    const { options } = this.#listener;
    const { framing, headers } = head;
    if (framing.kind === 'length' && framing.length > options.limits.maxBodyBytes) throw new ProxyError('body_too_large');
    if (head.minorVersion === 0) headers.delete('expect');
    else if (headers.hasKind(fieldKind.expect)) checkExpectation(headers, end < data.length);
    this.#head = head;
    this.#state = 'exchange';
    this.#keepAlive = head.keepAlive && ++this.#requests < options.limits.maxRequestsPerConnection;
    // Requests that came before the client's FIN are answered, each as if the FIN came now.
    this.deadline = this.#clientEnded ? this.#within(halfCloseGraceMs) : Infinity;
    const exchange = this.#open();
    if (head.minorVersion === 0) exchange.httpVersion = '1.0';
    let body: Body = emptyBody;
    if (framing.kind === 'length' && data.length - end >= framing.length) {
      // Small bodies arrive with their head: they need no stream, and can be sent again as they are.
      body = wholeBody(data, end, end + framing.length, this.#lentFrom !== undefined);
      this.#bodyBytes = framing.length;
      end += framing.length;
    } else if (framing.kind !== 'none') {
      this.#body = new IncomingBody(framing, options.limits, () => this.#now(), this.#socket);
      this.deadline = this.#body.deadline;
      body = this.#body.stream;
    }
    const upgrade = framing.kind === 'none' && headers.hasKind(fieldKind.upgrade) ? requestedUpgrade(head, options.limits.upgrades) : undefined;
    removeHopByHop(headers);
    const request: HttpRequest = {
      method: head.method,
      target: head.target.target,
      path: head.target.path,
      authority: head.authority,
      scheme: head.target.scheme ?? (options.credentials === undefined && this.peer === undefined ? 'http' : 'https'),
      headers,
      body,
      upgrade,
      cancellation: exchange.cancellation,
    };
    this.#run(options.service, request, exchange);
    return end;
  }

  #open(): Exchange {
    const startedAt = this.#startedAt === 0 ? this.#now() : this.#startedAt;
    this.#startedAt = 0;
    const exchange = new Exchange(this.#listener.options.name, this.#clientAddress, startedAt);
    exchange.inform = this.#inform;
    exchange.peer = this.peer;
    this.#exchange = exchange;
    this.#responseStarted = false;
    this.#bodyBytes = 0;
    return exchange;
  }

  #run(service: Service, request: HttpRequest, exchange: Exchange): void {
    exchange.request = request;
    service(request, exchange).then(this.#onResponse, this.#onDefect);
  }

  /** There is one exchange at a time, and none after one that was given up: this is the answer to it. */
  readonly #onResponse = (response: HttpResponse): void => {
    const exchange = this.#exchange;
    try {
      if (exchange === undefined) {
        response.tunnel?.destroy();
        response.body.cancel(new ProxyError('client_closed'));
      } else if (response.tunnel !== undefined) {
        this.#switch(exchange.request!.upgrade!, response, response.tunnel, exchange);
      } else {
        this.#respond(exchange.request!.method, response, exchange);
      }
    } catch (error) {
      this.#onDefect(error);
    }
  };

  /** The stack turns errors into responses; what still arrives here is a defect in the stack itself. */
  readonly #onDefect = (error: unknown): void => {
    const exchange = this.#exchange;
    if (exchange !== undefined) {
      exchange.errorCode ??= 'internal';
      exchange.cancellation.cancel(error as Error);
    }
    this.#socket.destroy();
  };

  /** Passes an interim response (103, 100) on. */
  readonly #inform = (status: number, headers: Headers): void => {
    if (this.#head?.minorVersion !== 1 || this.#responseStarted || this.#state !== 'exchange') return;
    removeHopByHop(headers);
    this.#socket.write(`${statusLine(status)}${headers.toWire()}\r\n`, 'latin1');
  };

  #respond(method: string, response: HttpResponse, exchange: Exchange): void {
    // A request whose body is not all here may never be: its connection cannot be used again.
    if (this.#body !== undefined || this.#listener.isDraining || (this.#clientEnded && this.#held === undefined)) this.#keepAlive = false;
    const minorVersion = this.#head?.minorVersion ?? 1;
    const framing = responseFramingFor(method, response, minorVersion);
    if (framing.kind === 'close') this.#keepAlive = false;
    exchange.status = response.status;
    this.#responseStarted = true;
    removeHopByHop(response.headers);
    for (const [name, value] of exchange.responseFields) response.headers.set(name, value);
    const head = responseHead(response, framing, this.#keepAlive, minorVersion);
    const { body } = response;
    if (framing.kind === 'none') {
      const hasDrained = this.#to.text(head);
      body.cancel(noBody);
      this.#finish(exchange, 0, hasDrained);
    } else if (body.whole !== undefined) {
      const hasDrained = this.#to.whole(head, body.whole);
      this.#finish(exchange, body.whole.length, hasDrained);
    } else {
      const writer = new MessageWriter(this.#to, head, framing.kind, body, (failure) => {
        if (this.#exchange !== exchange) return;
        if (failure === undefined) this.#finish(exchange, writer.bytesWritten, !this.#socket.writableNeedDrain);
        else this.#breakOff(exchange, response, writer.bytesWritten, failure);
      });
      this.#writer = writer;
      this.#blockedSince = this.#now();
      writer.start();
      if (this.#writer === writer) this.deadline = this.#exchangeDeadline(this.#now());
    }
  }

  /** The response is whole. `hasDrained`: the client takes what is written. */
  #finish(exchange: Exchange, bytesWritten: number, hasDrained: boolean): void {
    exchange.responseBytes = bytesWritten;
    this.#end(exchange);
    const now = this.#now();
    exchange.finish(now);
    if (!this.#keepAlive) {
      this.#closeGently();
      return;
    }
    this.#state = 'head';
    if (!hasDrained) {
      this.#waitsForDrain = true;
      this.#socket.pause();
      this.deadline = now + this.#listener.options.limits.writeTimeout;
      return;
    }
    this.deadline = now + this.#listener.options.limits.idleTimeout;
    this.#resumeReading();
  }

  /** The client must see that this is not the whole answer: the end of the framing never comes. */
  #breakOff(exchange: Exchange, response: HttpResponse, bytesWritten: number, failure: Error): void {
    exchange.responseBytes = bytesWritten;
    this.#end(exchange);
    exchange.errorCode ??= failure instanceof ProxyError ? failure.code : 'upstream_truncated';
    response.body.cancel(failure);
    exchange.finish(this.#now());
    this.#socket.destroy();
  }

  /** The upstream has switched to another protocol: so do we. The exchange lasts as long as the tunnel. */
  #switch(protocol: string, response: HttpResponse, upstream: TunnelEnd, exchange: Exchange): void {
    const { headers } = response;
    removeHopByHop(headers);
    exchange.status = response.status;
    this.#responseStarted = true;
    this.#state = 'tunnel';
    this.#socket.write(`${statusLine(response.status)}${headers.toWire()}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`, 'latin1');
    const { clock, limits } = this.#listener.options;
    const tunnel = new ClientTunnel(this.#socket, clock, limits.tunnelIdleTimeout);
    this.#tunnel = tunnel;
    const held = this.#held;
    this.#held = undefined;
    tunnel.join(upstream, exchange, held, this.#clientEnded);
    this.deadline = tunnel.deadline;
  }

  #checkTunnel({ deadline }: ClientTunnel): void {
    if (deadline <= this.#now()) this.#socket.destroy();
    else this.deadline = deadline;
  }

  #end(exchange: Exchange): void {
    exchange.requestBytes = this.#bodyBytes;
    this.#exchange = undefined;
    this.#writer = undefined;
    this.#head = undefined;
  }

  #resumeReading(): void {
    if (this.#held !== undefined) {
      // Not from within the write that ended the last exchange: a long pipeline would recurse.
      this.#resumesSoon = true;
      setImmediate(this.#consumeHeld);
    } else if (this.#clientEnded) {
      this.#closeGently();
    }
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  readonly #consumeHeld = (): void => {
    this.#resumesSoon = false;
    const held = this.#held;
    if (held === undefined || this.#state !== 'head' || this.#socket.destroyed) return;
    this.#held = undefined;
    this.#consume(held, 0);
    if (this.#clientEnded) this.#endHeld();
  };

  /** The client will send nothing more: what is unfinished now stays so. */
  #endHeld(): void {
    if (this.#state === 'head') this.#closeGently();
    else if (this.#state === 'exchange' && this.#body !== undefined) this.#abandon(new ProxyError('client_closed'));
  }

  /** Sends FIN, then reads and drops what the client still sends (RFC 9112 section 9.6). */
  #closeGently(): void {
    this.#state = 'closing';
    this.#held = undefined;
    this.#body = undefined;
    this.deadline = this.#now() + lingerMs;
    this.#socket.end();
    if (this.#clientEnded) this.#socket.destroySoon();
    else this.#socket.resume();
  }

  #readBody(data: Buffer, offset: number): number {
    const body = this.#body!;
    try {
      offset = body.read(data, offset, this.#now());
    } catch (error) {
      this.#failRequestBody(violationToError(error));
      return -1;
    }
    this.#bodyBytes = body.bytes;
    if (this.#body === body) {
      if (body.isComplete) this.#body = undefined;
      this.deadline = this.#exchangeDeadline(this.#now());
    }
    if (body.isComplete) body.end();
    return offset;
  }

  /** The rest of the request will not come, or is not acceptable. */
  #failRequestBody(error: ProxyError): void {
    const exchange = this.#exchange;
    const body = this.#body;
    this.#body = undefined;
    this.#keepAlive = false;
    this.deadline = Infinity;
    if (exchange === undefined) return;
    this.#bodyBytes = body?.bytes ?? 0;
    if (this.#responseStarted) {
      exchange.errorCode ??= error.code;
      this.#abandon(error);
      return;
    }
    // The stack fails with this reason, and its rescue layer answers with it.
    exchange.cancellation.cancel(error);
    body?.stream.fail(error);
  }

  /** Answers a request that never became one: no request is handed on, but log and metrics see it. */
  #refuse(error: ProxyError): void {
    this.#held = undefined;
    this.#body = undefined;
    this.#state = 'exchange';
    this.#keepAlive = false;
    this.deadline = Infinity;
    const exchange = this.#open();
    exchange.cancellation.cancel(error);
    const request: HttpRequest = { ...refused, headers: Headers.empty(), cancellation: exchange.cancellation };
    this.#run(this.#listener.options.refuse, request, exchange);
  }

  readonly #onDrain = (): void => {
    if (this.#tunnel !== undefined) {
      this.#tunnel.drained();
    } else if (this.#waitsForDrain && this.#state === 'head') {
      this.#waitsForDrain = false;
      this.deadline = this.#now() + this.#listener.options.limits.idleTimeout;
      this.#resumeReading();
    } else if (this.#writer !== undefined) {
      this.#blockedSince = this.#now();
      this.#writer.resume();
    }
  };

  readonly #onEnd = (): void => {
    this.#clientEnded = true;
    if (this.#tunnel !== undefined) this.#tunnel.ended();
    else if (this.#state === 'closing') this.#socket.destroySoon();
    else if (this.#state === 'head' && !this.#resumesSoon) this.#socket.destroySoon();
    else if (this.#body !== undefined) this.#abandon(new ProxyError('client_closed'));
    else if (!this.#responseStarted) this.deadline = this.#within(halfCloseGraceMs);
  };

  readonly #onClose = (): void => {
    if (this.#tunnel === undefined) {
      this.#abandon(new ProxyError('client_closed'));
      return;
    }
    this.#tunnel.closed();
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    this.#exchange = undefined;
    exchange.finish(this.#now());
  };

  /** The exchange cannot be completed: cancels what runs for it. */
  #abandon(reason: ProxyError): void {
    this.deadline = Infinity;
    const exchange = this.#exchange;
    if (exchange !== undefined) {
      const body = this.#body;
      if (this.#writer !== undefined) exchange.responseBytes = this.#writer.bytesWritten;
      this.#end(exchange);
      exchange.errorCode ??= reason.code;
      if (!this.#responseStarted) exchange.status = reason.entry.status;
      exchange.cancellation.cancel(reason);
      body?.stream.fail(reason);
      exchange.finish(this.#now());
    }
    if (!this.#socket.destroyed) this.#socket.destroy();
  }

  #now(): number {
    return this.#listener.options.clock.now();
  }

  /** A deadline that is nearer than those that the sweep is made for. */
  #within(ms: number): number {
    const at = this.#now() + ms;
    this.#listener.sweep.soon(at);
    return at;
  }
}

const lingerMs = 1_000;
/** How often a connection whose client is made to wait is asked whether the client is still there (ms). */
const pausedGlanceMs = 20;
/** What a client may send ahead before it is made to wait. */
const maxHeldBytes = 16_384;
const noBody = new Error('the response has no body');
const refused = { method: '-', target: '-', path: '-', authority: '', scheme: 'http', body: emptyBody } as const;
