import type { Socket } from 'node:net';
import { BytesBody, emptyBody, StreamBody, type Body } from '../http/body.js';
import { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Service } from '../http/service.js';
import { bodyDecoder, type BodyDecoder } from '../http1/body-decoder.js';
import type { Framing } from '../http1/framing.js';
import { scanHead } from '../http1/head.js';
import { removeHopByHop } from '../http1/hop-by-hop.js';
import { Http1Error } from '../http1/http1-error.js';
import { MessageWriter, writeWhole } from '../http1/message-writer.js';
import { parseRequestHead, type RequestHead } from '../http1/request-head.js';
import { statusLine } from '../http1/status-line.js';
import { ProxyError } from '../errors/proxy-error.js';
import { halfCloseGraceMs, type Http1Listener } from './http1-listener.js';
import { responseFramingFor, type ResponseFraming } from './response-framing.js';
import { violationToError } from './violations.js';

/**
 * One client connection.
 *
 * `head`: waiting for, or in the middle of, a request head. `exchange`: a request was handed to the
 * stack; its body may still be arriving and its answer going out. `closing`: the last answer was sent and
 * what the client still sends is thrown away, so that the answer is not lost to a reset. One exchange
 * at a time: pipelined requests wait in `#held`, with the socket paused, and are answered in order.
 */
export class Http1Connection {
  deadline: number;
  readonly #socket: Socket;
  readonly #listener: Http1Listener;
  readonly #clientAddress: string;
  #state: 'head' | 'exchange' | 'closing' = 'head';
  #held: Buffer | undefined;
  /** What is held is about to be consumed; bytes that come before that go behind it. */
  #resumesSoon = false;
  #startedAt = 0;

  #exchange: Exchange | undefined;
  #head: RequestHead | undefined;
  #decoder: BodyDecoder | undefined;
  #body: StreamBody | undefined;
  #bodyBytes = 0;
  #writer: MessageWriter | undefined;
  #responseStarted = false;
  #keepAlive = true;
  #clientEnded = false;

  constructor(socket: Socket, listener: Http1Listener) {
    this.#socket = socket;
    this.#listener = listener;
    this.#clientAddress = socket.remoteAddress ?? '';
    this.deadline = this.#now() + listener.options.limits.headTimeout;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
  }

  closeIfIdle(): void {
    if (this.#state === 'head' && this.#held === undefined) this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  onDeadline(): void {
    if (this.#state === 'closing') {
      this.#socket.destroy();
    } else if (this.#state === 'head') {
      if (this.#held === undefined) this.#socket.destroy();
      else this.#refuse(new ProxyError('request_timeout'));
    } else if (this.#clientEnded) {
      this.#abandon(new ProxyError('client_closed'));
    } else if (this.#decoder !== undefined) {
      // A client that we made wait is not the one that is late.
      if (this.#socket.isPaused()) this.deadline = this.#now() + this.#listener.options.limits.bodyIdleTimeout;
      else this.#failRequestBody(new ProxyError('request_timeout'));
    }
  }

  readonly #onData = (data: Buffer): void => {
    if (this.#state === 'closing') return;
    const held = this.#held;
    if (held === undefined) {
      this.#consume(data, 0);
    } else if (this.#resumesSoon) {
      this.#held = Buffer.concat([held, data]);
    } else {
      this.#held = undefined;
      this.#consume(Buffer.concat([held, data]), held.length);
    }
  };

  /** `scanned`: the part of `data` that was looked at before, and held no whole head. */
  #consume(data: Buffer, scanned: number): void {
    let offset = 0;
    while (offset < data.length) {
      if (this.#decoder !== undefined) {
        offset = this.#readBody(data, offset);
        if (offset === -1) return;
      } else if (this.#state === 'head') {
        const next = this.#readHead(data, offset, scanned);
        if (next === -1) return;
        offset = next;
      } else {
        // A pipelined request: it waits until the exchange before it is over.
        this.#held = offset === 0 ? data : data.subarray(offset);
        if (this.#state === 'exchange') this.#socket.pause();
        return;
      }
    }
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
      const end = scanHead(data, offset, Math.max(offset, scanned));
      if ((end === -1 ? data.length : end) - offset > limits.maxHeadBytes) {
        throw new Http1Error('head_too_large', `a head of more than ${limits.maxHeadBytes} bytes`);
      }
      if (end === -1) {
        this.#held = offset === 0 ? data : data.subarray(offset);
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
    else if (headers.has('expect')) checkExpectation(headers, end < data.length);
    this.#head = head;
    this.#state = 'exchange';
    this.#keepAlive = head.keepAlive;
    this.deadline = Infinity;
    const exchange = this.#open();
    let body: Body = emptyBody;
    if (framing.kind === 'length' && data.length - end >= framing.length) {
      // Small bodies arrive with their head: they need no stream, and can be sent again as they are.
      body = new BytesBody(data.subarray(end, end + framing.length));
      this.#bodyBytes = framing.length;
      end += framing.length;
    } else if (framing.kind !== 'none') {
      body = this.#openBody(framing);
    }
    removeHopByHop(headers);
    const request: HttpRequest = {
      method: head.method,
      target: head.target.target,
      path: head.target.path,
      authority: head.authority,
      scheme: head.target.scheme ?? (options.tls === undefined ? 'http' : 'https'),
      headers,
      body,
      cancellation: exchange.cancellation,
    };
    this.#run(options.service, request, exchange);
    return end;
  }

  #openBody(framing: Framing): StreamBody {
    this.deadline = this.#now() + this.#listener.options.limits.bodyIdleTimeout;
    this.#decoder = bodyDecoder(framing)!;
    this.#body = new StreamBody(framing.kind === 'length' ? framing.length : undefined, {
      pause: () => this.#socket.pause(),
      resume: () => this.#socket.resume(),
      cancel: () => {},
    });
    return this.#body;
  }

  #open(): Exchange {
    const startedAt = this.#startedAt === 0 ? this.#now() : this.#startedAt;
    this.#startedAt = 0;
    const exchange = new Exchange(this.#listener.options.name, this.#clientAddress, startedAt);
    exchange.inform = this.#inform;
    this.#exchange = exchange;
    this.#responseStarted = false;
    this.#bodyBytes = 0;
    return exchange;
  }

  #run(service: Service, request: HttpRequest, exchange: Exchange): void {
    exchange.request = request;
    service(request, exchange).then(
      (response) => {
        if (this.#exchange === exchange) this.#respond(request.method, response, exchange);
        else response.body.cancel(exchange.cancellation.reason ?? new ProxyError('client_closed'));
      },
      // The stack turns errors into responses; what still arrives here is a defect in the stack itself.
      (error: unknown) => {
        exchange.errorCode ??= 'internal';
        exchange.cancellation.cancel(error as Error);
        this.#socket.destroy();
      },
    );
  }

  /** Passes an interim response (103, 100) on. */
  readonly #inform = (status: number, headers: Headers): void => {
    if (this.#head?.minorVersion !== 1 || this.#responseStarted || this.#state !== 'exchange') return;
    removeHopByHop(headers);
    this.#socket.write(`${statusLine(status)}${headers.toWire()}\r\n`, 'latin1');
  };

  #respond(method: string, response: HttpResponse, exchange: Exchange): void {
    // A request whose body is not all here may never be: its connection cannot be used again.
    if (this.#decoder !== undefined || this.#listener.isDraining || this.#clientEnded) this.#keepAlive = false;
    const framing: ResponseFraming = responseFramingFor(method, response, this.#head?.minorVersion ?? 1);
    if (framing.kind === 'close') this.#keepAlive = false;
    exchange.status = response.status;
    this.#responseStarted = true;
    if (this.#decoder === undefined) this.deadline = Infinity;
    const { headers } = response;
    removeHopByHop(headers);
    for (const [name, value] of exchange.responseFields) headers.set(name, value);
    const head =
      statusLine(response.status) +
      headers.toWire() +
      framing.field +
      (this.#keepAlive ? (this.#head?.minorVersion === 0 ? 'Connection: keep-alive\r\n\r\n' : '\r\n') : 'Connection: close\r\n\r\n');
    const { body } = response;
    if (framing.kind === 'none') {
      body.cancel(noBody);
      writeWhole(this.#socket, head, noBytes);
      this.#finish(exchange, response, 0, undefined);
    } else if (body.bytes !== undefined) {
      writeWhole(this.#socket, head, body.bytes);
      this.#finish(exchange, response, body.bytes.length, undefined);
    } else {
      const writer = new MessageWriter(this.#socket, head, framing.kind, body, (failure) => this.#finish(exchange, response, writer.bytesWritten, failure));
      this.#writer = writer;
      writer.start();
    }
  }

  #finish(exchange: Exchange, response: HttpResponse, bytesWritten: number, failure: Error | undefined): void {
    if (this.#exchange !== exchange) return;
    exchange.responseBytes = bytesWritten;
    this.#end(exchange);
    if (failure !== undefined) {
      // The client must see that this is not the whole answer: the end of the framing never comes.
      exchange.errorCode ??= failure instanceof ProxyError ? failure.code : 'upstream_truncated';
      response.body.cancel(failure);
      exchange.finish(this.#now());
      this.#socket.destroy();
      return;
    }
    const now = this.#now();
    exchange.finish(now);
    if (!this.#keepAlive) {
      this.#closeGently();
      return;
    }
    this.#state = 'head';
    this.deadline = now + this.#listener.options.limits.idleTimeout;
    this.#resumeReading();
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
  };

  /** Sends FIN, then reads and drops what the client still sends (RFC 9112 section 9.6). */
  #closeGently(): void {
    this.#state = 'closing';
    this.#held = undefined;
    this.#decoder = undefined;
    this.#body = undefined;
    this.deadline = this.#now() + lingerMs;
    this.#socket.end();
    if (this.#clientEnded) this.#socket.destroySoon();
    else this.#socket.resume();
  }

  #readBody(data: Buffer, offset: number): number {
    const { limits } = this.#listener.options;
    const decoder = this.#decoder!;
    const body = this.#body!;
    this.deadline = this.#now() + limits.bodyIdleTimeout;
    try {
      offset = decoder.decode(data, offset, (chunk) => {
        this.#bodyBytes += chunk.length;
        if (this.#bodyBytes > limits.maxBodyBytes) throw new ProxyError('body_too_large');
        body.push(chunk);
      });
    } catch (error) {
      this.#failRequestBody(violationToError(error));
      return -1;
    }
    if (decoder.done && this.#decoder === decoder) {
      this.#decoder = undefined;
      this.#body = undefined;
      this.deadline = this.#clientEnded ? this.deadline : Infinity;
      body.end(decoder.trailers);
    }
    return offset;
  }

  /** The rest of the request will not come, or is not acceptable. */
  #failRequestBody(error: ProxyError): void {
    const exchange = this.#exchange;
    const body = this.#body;
    this.#decoder = undefined;
    this.#body = undefined;
    this.#keepAlive = false;
    this.deadline = Infinity;
    if (exchange === undefined) return;
    if (this.#responseStarted) {
      exchange.errorCode ??= error.code;
      this.#abandon(error);
      return;
    }
    // The stack fails with this reason, and its rescue layer answers with it.
    exchange.cancellation.cancel(error);
    body?.fail(error);
  }

  /** Answers a request that never became one: no request is handed on, but log and metrics see it. */
  #refuse(error: ProxyError): void {
    this.#held = undefined;
    this.#decoder = undefined;
    this.#state = 'exchange';
    this.#keepAlive = false;
    this.deadline = Infinity;
    const exchange = this.#open();
    exchange.cancellation.cancel(error);
    const request: HttpRequest = { ...refused, headers: Headers.empty(), cancellation: exchange.cancellation };
    this.#run(this.#listener.options.refuse, request, exchange);
  }

  readonly #onDrain = (): void => this.#writer?.resume();

  readonly #onEnd = (): void => {
    this.#clientEnded = true;
    if (this.#state === 'closing') this.#socket.destroySoon();
    else if (this.#state === 'head') this.#socket.destroy();
    else if (this.#decoder !== undefined) this.#abandon(new ProxyError('client_closed'));
    else if (!this.#responseStarted) this.deadline = this.#now() + halfCloseGraceMs;
  };

  readonly #onClose = (): void => this.#abandon(new ProxyError('client_closed'));

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
      body?.fail(reason);
      exchange.finish(this.#now());
    }
    if (!this.#socket.destroyed) this.#socket.destroy();
  }

  #now(): number {
    return this.#listener.options.clock.now();
  }
}

function checkExpectation(headers: Headers, bodyHasBegun: boolean): void {
  if (headers.getCombined('expect')!.toLowerCase() !== '100-continue') throw new ProxyError('expectation_failed');
  // A client that did not wait needs no answer; otherwise the upstream's 100 is passed on.
  if (bodyHasBegun) headers.delete('expect');
}

const lingerMs = 1_000;
const noBytes = Buffer.alloc(0);
const noBody = new Error('the response has no body');
const refused = { method: '-', target: '-', path: '-', authority: '', scheme: 'http', body: emptyBody } as const;
