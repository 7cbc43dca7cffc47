import { constants, type ServerHttp2Stream } from 'node:http2';
import { ProxyError } from '../../errors/proxy-error.js';
import { isGrpc } from '../../grpc/content-type.js';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { emptyBody, StreamBody, type Body } from '../../http/body.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import { unreadRequest } from '../../http/unread-request.js';
import { BodyReader } from '../../http2/body-reader.js';
import { BodyWriter } from '../../http2/body-writer.js';
import { closeStream } from '../../http2/close-stream.js';
import { writeFields } from '../../http2/fields.js';
import { readRequestFields } from '../../http2/request-fields.js';
import { BodyPace, graceMs } from '../body-pace.js';
import { violationToError } from '../violations.js';
import type { Http2Connection } from './http2-connection.js';

/**
 * One stream of a client: a request that is handed to the stack, and its answer.
 *
 * Both bodies may be on their way at once, for as long as either side sends something: `streamIdleTimeout` ends a stream that is
 * silent. The limits for slow bodies (`bodyIdleTimeout`, `minBodyRate`) hold until the answer begins, and not for gRPC,
 * whose streams are silent by design. A stream that the client resets cancels what runs for it at once.
 */
export class Http2Exchange implements Sweepable {
  deadline = Infinity;
  #request: HttpRequest | undefined;
  #reader: BodyReader | undefined;
  #body: StreamBody | undefined;
  #pace: BodyPace | undefined;
  #writer: BodyWriter | undefined;
  #response: HttpResponse | undefined;
  #responseBytes = 0;
  #responseStarted = false;
  /** Everything was handed to the stream; the client may still have to take it. */
  #responseEnded = false;
  /** The client has sent all of its request. */
  #requestEnded = false;
  #isOver = false;
  #isStreaming = false;
  /** When one side last sent something; and when the client last sent or took something. */
  #activeAt: number;
  #bodyActiveAt: number;

  constructor(
    private readonly stream: ServerHttp2Stream,
    private readonly exchange: Exchange,
    private readonly connection: Http2Connection,
  ) {
    this.#activeAt = exchange.startedAt;
    this.#bodyActiveAt = exchange.startedAt;
    exchange.httpVersion = '2';
    exchange.inform = this.#inform;
    stream.on('error', () => {});
    stream.once('aborted', this.#onAborted);
    stream.once('close', this.#onClose);
  }

  start(raw: readonly string[], hasNoBody: boolean): void {
    const { options } = this.connection.listener;
    this.#requestEnded = hasNoBody;
    try {
      const { method, target, authority, headers, length } = readRequestFields(raw, options.limits);
      if (length !== undefined && length > options.limits.maxBodyBytes) throw new ProxyError('body_too_large');
      if (headers.has('expect') && headers.getCombined('expect')!.toLowerCase() !== '100-continue') throw new ProxyError('expectation_failed');
      this.#isStreaming = isGrpc(headers);
      const request: HttpRequest = {
        method,
        target: target.target,
        path: target.path,
        authority,
        scheme: this.connection.isSecure ? 'https' : 'http',
        headers,
        body: hasNoBody ? emptyBody : this.#openBody(length, headers.has('expect')),
        cancellation: this.exchange.cancellation,
      };
      if (hasNoBody) this.stream.resume();
      this.#schedule();
      this.#run(options.service, request);
    } catch (error) {
      this.stream.resume();
      this.#schedule();
      this.#refuse(violationToError(error), raw);
    }
  }

  /** Nothing waits for the client to take it. */
  get isTaken(): boolean {
    return !this.#responseEnded && this.stream.writableLength === 0;
  }

  /** The process ends. */
  shutDown(): void {
    this.#abandon(new ProxyError('shut_down'));
  }

  onDeadline(): void {
    if (this.#isOver) return;
    const now = this.connection.now();
    const { bodyIdleTimeout, writeTimeout } = this.#limits;
    if (this.#isStalled() && now - this.#bodyActiveAt >= writeTimeout) this.#abandon(new ProxyError('client_stalled'));
    else if (this.#awaitsBody() && (now - this.#bodyActiveAt >= bodyIdleTimeout || this.#pace!.isTooSlow(this.exchange.requestBytes, now))) this.#failBody(new ProxyError('request_timeout'));
    else if (now >= this.#idleAt()) this.#abandon(new ProxyError(this.#responseStarted ? 'client_stalled' : 'request_timeout'));
    this.#schedule();
  }

  get #limits() {
    return this.connection.listener.options.limits;
  }

  /** When the exchange has to be looked at next. */
  #schedule(): void {
    const { bodyIdleTimeout, writeTimeout, minBodyRate } = this.#limits;
    let next = this.#idleAt();
    if (this.#awaitsBody()) {
      next = Math.min(next, this.#bodyActiveAt + bodyIdleTimeout);
      if (minBodyRate > 0) next = Math.min(next, this.connection.now() + graceMs);
    }
    if (this.#responseStarted) next = Math.min(next, (this.#isStalled() ? this.#bodyActiveAt : this.connection.now()) + writeTimeout);
    this.deadline = next;
  }

  #idleAt(): number {
    const { streamIdleTimeout } = this.#limits.http2;
    return streamIdleTimeout === 0 ? Infinity : this.#activeAt + streamIdleTimeout;
  }

  /** The client does not take what is there for it. */
  #isStalled(): boolean {
    return this.#responseStarted && (this.#responseEnded || this.stream.writableNeedDrain);
  }

  /** The client owes us the rest of its request; one that we made wait does not. */
  #awaitsBody(): boolean {
    return this.#body !== undefined && !this.#isStreaming && !this.#responseStarted && !this.#pace!.isPaused;
  }

  /** The client may send its body now, or does so without having been asked. */
  #ask(): void {
    const now = this.connection.now();
    if (this.#pace?.ask(now) !== true) return;
    this.#bodyActiveAt = now;
    this.#schedule();
  }

  #touch(): void {
    this.#activeAt = this.connection.now();
    this.#bodyActiveAt = this.#activeAt;
  }

  #openBody(length: number | undefined, isHeldBack: boolean): Body {
    const { stream } = this;
    const pace = new BodyPace(this.#limits.minBodyRate, this.exchange.startedAt, isHeldBack, this.#isStreaming);
    this.#pace = pace;
    const body = new StreamBody(length, {
      pause: () => {
        pace.pause(this.connection.now());
        stream.pause();
      },
      resume: () => {
        this.#bodyActiveAt = this.connection.now();
        // A look within the pause has put the next one off.
        if (pace.resume(this.#bodyActiveAt)) this.#schedule();
        stream.resume();
      },
      cancel: () => this.#reader?.stop(),
    }, pace);
    this.#body = body;
    this.#reader = new BodyReader(stream);
    this.#reader.read({
      chunk: (data) => {
        this.#touch();
        this.#ask();
        this.exchange.requestBytes += data.length;
        if (this.exchange.requestBytes > this.#limits.maxBodyBytes) this.#failBody(new ProxyError('body_too_large'));
        else body.push(data);
      },
      end: (trailers) => {
        this.#touch();
        pace.complete(this.#activeAt);
        this.#requestEnded = true;
        this.#body = undefined;
        body.end(trailers);
      },
      // The client took its request back, or its data did not match its length: `close` or `aborted` tells the rest.
      broken: () => {
        this.#body = undefined;
        body.fail(new ProxyError('client_closed'));
      },
    });
    return body;
  }

  #run(service: Service, request: HttpRequest): void {
    const { exchange } = this;
    this.#request = request;
    exchange.request = request;
    service(request, exchange).then(
      (response) => {
        if (this.#isOver || this.stream.destroyed || this.stream.closed) {
          response.body.cancel(exchange.cancellation.reason ?? new ProxyError('client_closed'));
          return;
        }
        try {
          this.#respond(response);
        } catch (error) {
          this.#defect(error);
        }
      },
      // The stack turns errors into responses; what still arrives here is a defect in the stack itself.
      (error: unknown) => this.#defect(error),
    );
  }

  #defect(error: unknown): void {
    this.#abandon(new ProxyError('internal', { cause: error }), constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** Answers a request that never became one: no request is handed on, but log and metrics see it. */
  #refuse(error: ProxyError, raw: readonly string[]): void {
    this.exchange.cancellation.cancel(error);
    // A client that speaks gRPC is answered so.
    const type = raw[raw.indexOf('content-type') + 1];
    const headers = raw.includes('content-type') && isGrpc(Headers.of({ 'content-type': type! })) ? Headers.of({ 'content-type': type! }) : Headers.empty();
    this.#run(this.connection.listener.options.refuse, { ...unreadRequest, headers, cancellation: this.exchange.cancellation });
  }

  readonly #inform = (status: number, headers: Headers): void => {
    if (this.#responseStarted || this.#isOver || this.stream.closed || this.stream.destroyed) return;
    if (status === 100) this.#ask();
    // They may be dropped, and a client that reads none of them must not fill our memory.
    if (this.connection.isBehind) return;
    this.stream.additionalHeaders(writeFields(headers, { ':status': status }, 'content-length'));
  };

  #respond(response: HttpResponse): void {
    const { exchange, stream } = this;
    const { status, headers, body } = response;
    exchange.status = status;
    for (const add of exchange.responseFields) add(headers);
    this.#response = response;
    // RFC 9110 sections 8.6 and 15.3.6: neither has a length, and a client of HTTP/2 takes one for an error. Node sends nothing behind 205 either.
    const isEmpty = status === 204 || status === 205;
    const fields = writeFields(headers, { ':status': status }, isEmpty ? 'content-length' : undefined);
    const isBodiless = isEmpty || this.#request!.method === 'HEAD' || status === 304;
    this.#responseStarted = true;
    this.#touch();
    if (isBodiless || body.whole?.length === 0) {
      stream.respond(fields, { endStream: true });
      if (isBodiless) body.cancel(noBody);
      this.#ended();
    } else if (body.whole !== undefined) {
      fields['content-length'] ??= String(body.length);
      stream.respond(fields);
      this.#responseBytes = body.whole.length;
      stream.end(body.whole.bytes);
      this.#ended();
    } else {
      stream.respond(fields, { waitForTrailers: true });
      this.#writer = new BodyWriter(stream, this.#observed(body), (failure) => (failure === undefined ? this.#ended() : this.#breakOff(failure)), () => this.#touch());
      this.#writer.start();
    }
    this.connection.onHandedOver();
    this.#schedule();
  }

  /** The body, of whose chunks the time is noted: a stream on which only the answer moves is not silent. */
  #observed(body: Body): Body {
    return {
      length: body.length,
      whole: undefined,
      pipe: (sink) =>
        body.pipe({
          chunk: (data) => {
            this.#activeAt = this.connection.now();
            const wasFull = this.stream.writableNeedDrain;
            const wantsMore = sink.chunk(data);
            this.connection.onHandedOver();
            if (!wantsMore && !wasFull) {
              this.#bodyActiveAt = this.#activeAt;
              this.deadline = Math.min(this.deadline, this.#activeAt + this.#limits.writeTimeout);
            }
            return wantsMore;
          },
          end: (trailers) => sink.end(trailers),
          fail: (reason) => sink.fail(reason),
        }),
      resume: () => body.resume(),
      cancel: (reason) => body.cancel(reason),
    };
  }

  /** The answer is whole. What the client still sends of its request is not needed any more (RFC 9113 section 8.1). */
  #ended(): void {
    this.#responseEnded = true;
    this.#touch();
    this.#schedule();
    if (this.#requestEnded) return;
    this.#body = undefined;
    this.#reader?.stop();
    this.#close(constants.NGHTTP2_NO_ERROR);
  }

  /** The client must see that this is not the whole answer. */
  #breakOff(failure: Error): void {
    const { exchange } = this;
    exchange.errorCode ??= failure instanceof ProxyError ? failure.code : 'upstream_truncated';
    this.#response?.body.cancel(failure);
    this.#finish();
    this.#close(exchange.errorCode === 'deadline_exceeded' ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** The rest of the request will not come, or is not acceptable. */
  #failBody(error: ProxyError): void {
    const body = this.#body;
    this.#body = undefined;
    this.#reader?.stop();
    if (this.#responseStarted) {
      this.#abandon(error);
      return;
    }
    // The stack fails with this reason, and its rescue layer answers with it.
    this.exchange.cancellation.cancel(error);
    body?.fail(error);
  }

  readonly #onAborted = (): void => {
    // Data that does not match its length is the client's fault of another kind, but nobody is there to hear of it.
    this.#abandon(new ProxyError(this.stream.rstCode === constants.NGHTTP2_PROTOCOL_ERROR ? 'bad_request' : 'client_closed'));
  };

  readonly #onClose = (): void => {
    // Node closes the streams of a connection that breaks with CANCEL.
    if (this.#responseEnded && this.stream.rstCode === constants.NGHTTP2_NO_ERROR) this.#finish();
    else this.#abandon(new ProxyError('client_closed'));
  };

  /** The exchange cannot be completed: cancels what runs for it. */
  #abandon(reason: ProxyError, code: number = constants.NGHTTP2_CANCEL): void {
    if (this.#isOver) return;
    const { exchange } = this;
    // By a reset, or by data that do not match their length, for which the library resets the stream (CVE-2025-8671): the upstream has its work either way.
    const wasTakenBack = !this.#responseStarted && (reason.code === 'client_closed' || reason.code === 'bad_request');
    const body = this.#body;
    this.#body = undefined;
    exchange.errorCode ??= reason.code;
    if (!this.#responseStarted) exchange.status = reason.entry.status;
    exchange.cancellation.cancel(reason);
    this.#response?.body.cancel(reason);
    body?.fail(reason);
    this.#finish(wasTakenBack);
    this.#close(code);
  }

  #finish(wasTakenBack = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.deadline = Infinity;
    this.exchange.responseBytes = this.#writer?.bytesWritten ?? this.#responseBytes;
    this.exchange.finish(this.connection.now());
    this.connection.over(this, wasTakenBack);
  }

  #close(code: number): void {
    const { stream } = this;
    closeStream(stream, code);
    // Node keeps a stream until what it has received was read.
    stream.resume();
  }
}

const noBody = new Error('the response has no body');
