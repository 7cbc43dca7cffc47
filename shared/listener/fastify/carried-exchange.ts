import type { FastifyReply, FastifyRequest } from 'fastify';
import { constants, type OutgoingHttpHeaders } from 'node:http2';
import type { Readable } from 'node:stream';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { problemResponse } from '../../errors/problem.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { emptyBody, type Body } from '../../http/body.js';
import { Exchange } from '../../http/exchange.js';
import { hasReset } from '../../http/has-reset.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { BodyReadable, ReadableBody } from '../../http/readable.js';
import type { Service } from '../../http/service.js';
import { unreadRequest } from '../../http/unread-request.js';
import { removeHopByHop } from '../../http1/hop-by-hop.js';
import { writeFields } from '../../http2/fields.js';
import { BodyPace } from '../body-pace.js';
import { peerAddress } from '../peer-address.js';
import { violationToError } from '../violations.js';
import type { MountOptions } from './mount-stack.js';
import { checkPrefix, isSecure, readRequest, unannouncedBody } from './read-request.js';
import { breakOff, cutOff, hasMediaType, isGone, isSent, onceOver, streamOf, unsentOf, writeHints } from './reply.js';

/** What @fastify/http-proxy is given for an answer. */
export interface Answer {
  readonly statusCode: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Readable | Buffer;
}

/** How soon a client's reset is noticed where Node does not read the connection (ms). */
const glanceMs = 20;

/** One request of Fastify's and its reply, on their way through the stack. */
export class CarriedExchange implements Sweepable {
  deadline = Infinity;
  readonly exchange: Exchange;
  #body: Readable | undefined;
  readonly #pace: BodyPace;
  #bodyActiveAt = 0;
  #answerBody: BodyReadable | undefined;
  #hasAnswer = false;
  #fieldNames: readonly string[] = [];
  /** What of the answer was with the client when that was last looked at, and when it was not the same (clock reading, ms). */
  #taken = NaN;
  #takenAt = 0;

  constructor(
    private readonly request: FastifyRequest,
    private readonly reply: FastifyReply,
    private readonly options: MountOptions,
    private readonly onClose: () => void,
  ) {
    const { name, clock, limits } = options;
    const exchange = new Exchange(name, peerAddress(request.socket) ?? '', clock.now());
    this.exchange = exchange;
    this.#pace = new BodyPace(limits.minBodyRate, exchange.startedAt);
    exchange.peer = options.peerOf?.(request.socket);
    exchange.httpVersion = request.raw.httpVersionMajor === 2 ? '2' : request.raw.httpVersion === '1.0' ? '1.0' : '1.1';
    exchange.inform = (status, headers) => {
      if (status !== 103 || exchange.httpVersion === '1.0' || reply.raw.headersSent || isGone(reply)) return;
      removeHopByHop(headers);
      writeHints(reply, headers);
    };
    this.#schedule(exchange.startedAt);
    // Hooks of the application may have taken so long that the client left meanwhile: `close` does not come twice.
    if (isGone(reply)) process.nextTick(this.#closed);
    else onceOver(reply, this.#closed);
    // RFC 9113 section 8.1: whoever has its answer need not send the rest, and keeps nothing open by that. At once, the reset would overtake the answer's end.
    const stream = streamOf(reply);
    stream?.once('finish', () => setImmediate(() => {
      if (!request.raw.complete) stream.close(constants.NGHTTP2_NO_ERROR);
    }));
  }

  /** Sends the request through `service`, or what is wrong with it through `refuse`. */
  async carry(body: Readable | undefined, prefix: string, send: (answer: Answer) => void): Promise<void> {
    let request: HttpRequest;
    try {
      request = this.#read(body, prefix);
    } catch (error) {
      return this.refuse(violationToError(error), send);
    }
    return this.#run(this.options.service, request, send);
  }

  /** Answers what never became a request. */
  refuse(error: ProxyError, send: (answer: Answer) => void): Promise<void> {
    const { exchange } = this;
    exchange.cancellation.cancel(error);
    return this.#run(this.options.refuse, { ...unreadRequest, headers: Headers.empty(), cancellation: exchange.cancellation }, send);
  }

  /** What the client gets when its answer failed before anything of it was sent. */
  failed(error: ProxyError): Answer {
    this.exchange.errorCode ??= error.code;
    for (const name of this.#fieldNames) this.reply.removeHeader(name);
    return this.#answer(problemResponse(error, this.exchange.requestId));
  }

  onDeadline(): void {
    const { clock, limits } = this.options;
    if (this.#mayBeUnwatched() && hasReset(this.request.raw.socket)) {
      this.request.raw.socket.destroy();
      return;
    }
    const now = clock.now();
    if (this.#awaitsBody() && now - this.#bodyActiveAt >= limits.bodyIdleTimeout) this.exchange.cancellation.cancel(new ProxyError('request_timeout'));
    if (this.#hasAnswer && this.#isStalled(now)) {
      // One that went out whole is one, although its client does not end the request.
      if (streamOf(this.reply)?.writableFinished !== true) this.exchange.errorCode ??= 'client_stalled';
      cutOff(this.reply);
    }
    this.#schedule(now);
  }

  #schedule(now: number): void {
    const { bodyIdleTimeout, writeTimeout } = this.options.limits;
    const bodyDueAt = this.#body === undefined || this.#hasAnswer ? Infinity : (this.#awaitsBody() ? this.#bodyActiveAt : now) + bodyIdleTimeout;
    this.deadline = Math.min(bodyDueAt, this.#hasAnswer ? now + writeTimeout / 4 : Infinity, this.#mayBeUnwatched() ? now + glanceMs : Infinity);
  }

  /** Node does not read a connection whose body nobody takes, and hears of no reset. */
  #mayBeUnwatched(): boolean {
    return this.exchange.httpVersion !== '2' && !this.request.raw.complete;
  }

  /** The client owes us the rest of its request; one that we made wait does not. */
  #awaitsBody(): boolean {
    return this.#body !== undefined && !this.#hasAnswer && !this.request.raw.complete && !this.#pace.isPaused;
  }

  /** Whether something has been there for the client since `writeTimeout`, and it has taken nothing. */
  #isStalled(now: number): boolean {
    const unsent = unsentOf(this.reply);
    const taken = (this.#answerBody?.bytes ?? 0) - unsent;
    if (unsent === 0 || taken !== this.#taken) {
      this.#taken = taken;
      this.#takenAt = now;
    }
    return now - this.#takenAt >= this.options.limits.writeTimeout;
  }

  readonly #closed = (): void => {
    const { exchange, reply } = this;
    // Hooks of the application may have changed it, or kept it back.
    exchange.status = reply.raw.headersSent ? reply.raw.statusCode : 0;
    if (!isSent(reply)) {
      const error = new ProxyError(exchange.errorCode ?? 'client_closed');
      exchange.errorCode = error.code;
      if (exchange.status === 0) exchange.status = error.entry.status;
      exchange.cancellation.cancel(error);
    }
    this.#answerBody?.destroy();
    exchange.finish(this.options.clock.now());
    this.onClose();
  };

  #read(parsed: Readable | undefined, prefix: string): HttpRequest {
    const { raw } = this.request;
    const { method, target, authority, headers, length } = readRequest(this.request, this.options.limits);
    checkPrefix(target, raw.url!, prefix);
    // Of GET and HEAD Fastify reads no body: the request goes on without.
    const body = typeof parsed === 'object' ? parsed : unannouncedBody(raw);
    if (body === undefined && length !== 0) headers.delete('content-length');
    return {
      method,
      target: target.target,
      path: target.path,
      authority,
      scheme: isSecure(raw) ? 'https' : 'http',
      headers,
      body: body === undefined ? emptyBody : this.#open(body, length),
      cancellation: this.exchange.cancellation,
    };
  }

  #open(readable: Readable, length: number | undefined): Body {
    const { clock, limits } = this.options;
    const { exchange } = this;
    const refuse = (code: 'body_too_large' | 'request_timeout'): never => {
      const error = new ProxyError(code);
      exchange.cancellation.cancel(error);
      throw error;
    };
    this.#body = readable;
    this.#bodyActiveAt = clock.now();
    // Nobody reads it yet.
    this.#pace.pause(this.#bodyActiveAt);
    this.#schedule(this.#bodyActiveAt);
    readable.on('end', () => this.#pace.complete(clock.now()));
    readable.on('pause', () => this.#pace.pause(clock.now()));
    readable.on('resume', () => {
      this.#bodyActiveAt = clock.now();
      this.#pace.resume(this.#bodyActiveAt);
    });
    return new ReadableBody(readable, length, (chunk) => {
      this.#bodyActiveAt = clock.now();
      exchange.requestBytes += chunk.length;
      if (exchange.requestBytes > limits.maxBodyBytes) refuse('body_too_large');
      if (!this.#hasAnswer && this.#pace.isTooSlow(exchange.requestBytes, this.#bodyActiveAt)) refuse('request_timeout');
    }, this.#pace);
  }

  /** Hands the answer to `send`, unless nobody is left to get it. Never rejects: nobody would hear of it but the process. */
  async #run(service: Service, request: HttpRequest, send: (answer: Answer) => void): Promise<void> {
    const { exchange, reply } = this;
    exchange.request = request;
    try {
      const response = await service(request, exchange);
      // The plugin destroys what it cannot send any more, which bytes do not understand.
      if (isGone(reply)) {
        response.body.cancel(exchange.cancellation.reason ?? new ProxyError('client_closed'));
        return;
      }
      const answer = this.#answer(response);
      if (exchange.httpVersion !== '2' && this.#isLast()) answer.headers['connection'] = 'close';
      send(answer);
    } catch (error) {
      // The stack turns errors into responses, and Fastify sends them; what still arrives here is a defect in one of them.
      reply.log.error(error);
      exchange.errorCode ??= 'internal';
      exchange.cancellation.cancel(error as Error);
      breakOff(reply);
    }
  }

  /** Whether nothing can be read behind it on a connection of HTTP/1.x. */
  #isLast(): boolean {
    const { raw } = this.request;
    // Who was refused once has lost our trust in where its next request begins, and so has one whose body was cut off. Behind a request with Upgrade Node drops what it has read, and may take the rest of a body for the next. A body that nobody takes has no limit.
    return this.exchange.cancellation.isCancelled || raw.headers.upgrade !== undefined || (this.#body === undefined && !raw.complete);
  }

  #answer({ status, headers, body }: HttpResponse): Answer {
    const { exchange, reply } = this;
    exchange.status = status;
    this.#hasAnswer = true;
    this.#takenAt = this.options.clock.now();
    this.#schedule(this.#takenAt);
    removeHopByHop(headers);
    // None come, and Node takes it ill where there could be none.
    headers.delete('trailer');
    for (const add of exchange.responseFields) add(headers);
    // Over HTTP/2, Node sends nothing behind 205 either (RFC 9110 section 15.3.6).
    const isEmpty = status === 204 || status === 205;
    if (isEmpty) headers.delete('content-length');
    const hasBody = exchange.request!.method !== 'HEAD' && !isEmpty && status !== 304;
    const fields = writeFields(headers, {});
    this.#fieldNames = Object.keys(fields);
    // Fastify makes up a type for bytes that have none, or none that it can read, but not for a stream.
    if (hasBody && body.whole !== undefined && body.whole.length > 0 && hasMediaType(fields)) {
      const { bytes } = body.whole;
      exchange.countBytes = () => void (exchange.responseBytes = bytes.length);
      return { statusCode: status, headers: fields, body: bytes };
    }
    const readable = new BodyReadable(hasBody ? body : emptyBody, (reason) => {
      const error = reason instanceof ProxyError ? reason : new ProxyError('upstream_truncated', { cause: reason });
      exchange.errorCode ??= error.code;
      return error;
    });
    // What came before the break goes on in the meantime. Fastify hears of it after us, and would end a stream of HTTP/2 as if it were whole.
    readable.once('error', () => {
      if (reply.raw.headersSent) breakOff(reply);
    });
    this.#answerBody = readable;
    if (!hasBody) body.cancel(new Error('the response has no body'));
    exchange.countBytes = () => void (exchange.responseBytes = readable.bytes);
    return { statusCode: status, headers: fields, body: readable };
  }
}
