import { constants, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { isBrokenOff, ProxyError } from '../../errors/proxy-error.js';
import { isGrpc } from '../../grpc/content-type.js';
import { emptyBody, StreamBody, type Body } from '../../http/body.js';
import type { Cancellable } from '../../http/cancellation.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { BodyReader } from '../../http2/body-reader.js';
import { BodyWriter } from '../../http2/body-writer.js';
import { closeStream } from '../../http2/close-stream.js';
import { fieldBytes, readFields, writeFields } from '../../http2/fields.js';
import type { Http2UpstreamSession } from './http2-session.js';

/** The last number that a client can give to a stream (RFC 9113 section 5.1.1). */
const lastStreamId = 2 ** 31 - 1;

/** The endpoint closed a connection that had answered before, without a word (GOAWAY would say what was processed), and not a byte of this answer had come. */
export class ClosedUnanswered extends Error {}

/**
 * One request on a session, and its answer: a stream.
 *
 * A stream that the endpoint refused, or that its GOAWAY leaves out, was never processed (RFC 9113 section 8.7): `upstream_refused`,
 * which may be tried again whatever the method. Any other end before the answer is `upstream_reset`, and within it
 * `upstream_truncated`. `ClosedUnanswered` is the cause where it may be the keep-alive race. Nobody waiting for the answer any more resets the stream, and nothing else on the connection.
 */
export class Http2Attempt implements Cancellable, Sweepable {
  deadline = Infinity;
  #stream: ClientHttp2Stream | undefined;
  #body: StreamBody | undefined;
  #reader: BodyReader | undefined;
  #isSent = false;
  /** The status of the answer was no failure. */
  #isGood = false;
  #responded = false;
  #isOver = false;
  #isPaused = false;
  /** All fields of its interim answers together. */
  #interimBytes = 0;
  /** How many questions the endpoint had answered when it was sent. */
  readonly #answersBefore: number;
  /** The session had answered before. */
  readonly #mayRace: boolean;

  constructor(
    private readonly session: Http2UpstreamSession,
    private readonly request: HttpRequest,
    private readonly exchange: Exchange,
    private readonly resolve: (response: HttpResponse) => void,
    private readonly reject: (error: Error) => void,
  ) {
    this.#answersBefore = session.answers;
    this.#mayRace = session.isUsed;
  }

  start(client: ClientHttp2Session): void {
    const { request } = this;
    request.cancellation.subscribe(this);
    if (request.cancellation.isCancelled) return;
    const { body } = request;
    const fields = this.#fields();
    const { maxFieldBytes } = this.session;
    // What the endpoint has said that it does not take would be its failure otherwise, and anybody could bring it about.
    if (maxFieldBytes !== Infinity && fieldBytes(fields) > maxFieldBytes) {
      this.#fail(new ProxyError('head_too_large', { cause: new Error(`the endpoint takes no more than ${maxFieldBytes} bytes of fields`) }));
      return;
    }
    const { whole } = body;
    let stream: ClientHttp2Stream;
    try {
      stream = client.request(fields, { endStream: whole?.length === 0, waitForTrailers: whole === undefined });
    } catch (error) {
      // On a session that has gone away in the meantime nothing was sent; anything else is not the endpoint's doing.
      this.#fail(new ProxyError(client.closed || client.destroyed ? 'upstream_refused' : 'internal', { cause: error }));
      return;
    }
    this.#stream = stream;
    if (stream.id === lastStreamId) this.session.leave();
    this.#reader = new BodyReader(stream);
    stream.on('error', () => {});
    stream.on('headers', this.#onInterim);
    stream.once('response', this.#onResponse);
    stream.once('close', this.#onClose);
    if (whole === undefined) {
      new BodyWriter(stream, body, (failure) => {
        if (failure === undefined) this.#isSent = true;
        else this.cancel(failure);
      }).start();
      return;
    }
    this.#isSent = true;
    if (whole.length > 0) stream.end(whole.bytes);
  }

  cancel(reason: Error): void {
    // One of which nothing was sent says nothing of the endpoint.
    if (!this.#isOver && this.#stream !== undefined) this.session.doubt(this.#answersBefore);
    this.#fail(reason);
    this.#close(constants.NGHTTP2_CANCEL);
  }

  /** The answer has paused for too long, unless we made it wait. */
  onDeadline(): void {
    if (this.#body === undefined || this.#isPaused) return;
    this.cancel(new ProxyError('upstream_timeout'));
  }

  /** An authority that is empty, which HTTP/1.1 knows, must not be sent (RFC 9113 section 8.3.1). */
  #fields(): OutgoingHttpHeaders {
    const { method, target, headers, body } = this.request;
    const saysTrailers = headers.has('te');
    const takesTrailers = saysTrailers || isGrpc(headers);
    if (body.length === undefined) headers.delete('content-length');
    const fields = writeFields(headers, { ':method': method, ':scheme': this.session.scheme, ':authority': headers.get('host') || this.session.authority, ':path': target }, 'host');
    if (body.length !== undefined && body.length > 0) fields['content-length'] ??= String(body.length);
    if (takesTrailers) fields['te'] = 'trailers';
    // What concerns a connection is gone from them now, and they may be sent once more.
    if (saysTrailers && !isGrpc(headers)) headers.append('TE', 'trailers');
    return fields;
  }

  readonly #onInterim = (fields: Readonly<Record<string, unknown>>, _flags: number, raw?: readonly string[]): void => {
    if (this.#isOver) return;
    try {
      const status = statusIn(fields, 100, 199);
      const { maxHeadBytes } = this.session.limits;
      for (const text of raw ?? []) this.#interimBytes += text.length + 2;
      if (this.#interimBytes > maxHeadBytes) throw new Error(`interim answers of more than ${maxHeadBytes} bytes`);
      this.exchange.inform?.(status, readFields(raw ?? []));
    } catch (error) {
      this.#protocolError(error);
    }
  };

  readonly #onResponse = (fields: Readonly<Record<string, unknown>>, flags: number, raw?: readonly string[]): void => {
    if (this.#isOver) return;
    this.session.heard();
    try {
      const status = statusIn(fields, 200, 599);
      const headers = readFields(raw ?? []);
      const hasEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      const isBodiless = hasEnded || this.request.method === 'HEAD' || status === 204 || status === 304;
      const length = headers.get('content-length');
      const body: Body = isBodiless ? emptyBody : this.#openBody(length === undefined ? undefined : Number(length), isGrpc(headers));
      this.#responded = true;
      this.#isGood = status < 500;
      this.exchange.respondedAt = this.session.now();
      if (isBodiless) {
        this.#over();
        this.#stream!.resume();
        if (!this.#isSent || !hasEnded) this.#close(constants.NGHTTP2_CANCEL);
      }
      this.resolve({ status, headers, body });
    } catch (error) {
      this.#protocolError(error);
    }
  };

  #openBody(length: number | undefined, isStreaming: boolean): Body {
    const stream = this.#stream!;
    const { bodyIdleTimeout } = this.session.limits;
    const touch = (): void => {
      // A stream of gRPC may be silent for as long as its two ends like; the listener ends one that is forgotten.
      if (!isStreaming) this.deadline = this.session.now() + bodyIdleTimeout;
    };
    const body = new StreamBody(length, {
      pause: () => {
        this.#isPaused = true;
        stream.pause();
      },
      resume: () => {
        this.#isPaused = false;
        touch();
        stream.resume();
      },
      cancel: (reason) => this.cancel(reason),
    });
    this.#body = body;
    touch();
    let received = 0;
    this.#reader!.read({
      chunk: (data) => {
        received += data.length;
        this.session.heard();
        touch();
        body.push(data);
      },
      end: (trailers) => {
        if (length !== undefined && received !== length) {
          this.#fail(new ProxyError('upstream_truncated'));
          return;
        }
        this.#over();
        body.end(trailers);
        // What is left of the request is not needed any more.
        if (!this.#isSent) this.#close(constants.NGHTTP2_CANCEL);
      },
      broken: (error) => {
        if (error !== undefined) this.#fail(new ProxyError('upstream_protocol', { cause: error }));
        else this.#fail(this.#reasonOfClose());
      },
    });
    return body;
  }

  readonly #onClose = (): void => {
    this.session.release(this);
    if (!this.#isOver) this.#fail(this.#reasonOfClose());
  };

  #reasonOfClose(): ProxyError {
    const stream = this.#stream!;
    if (this.session.isGivenUp) return new ProxyError('upstream_protocol', { cause: new Error('the connection was given up') });
    // The library’s own verdict on what it read, where it gives one.
    const error: NodeJS.ErrnoException | null = stream.errored;
    if (error?.code === 'ERR_HTTP2_ERROR') return new ProxyError('upstream_protocol', { cause: error });
    const cause = new Error(`the stream was closed with code ${stream.rstCode}`);
    if (this.#responded) return new ProxyError('upstream_truncated', { cause });
    if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || this.session.leftOut(stream.id)) return new ProxyError('upstream_refused', { cause });
    if (this.#mayRace && this.#interimBytes === 0 && this.session.wasClosedSilently) return new ProxyError('upstream_reset', { cause: new ClosedUnanswered('the connection was closed') });
    return new ProxyError(stream.rstCode === constants.NGHTTP2_PROTOCOL_ERROR ? 'upstream_protocol' : 'upstream_reset', { cause });
  }

  #protocolError(cause: unknown): void {
    this.#fail(new ProxyError('upstream_protocol', { cause }));
    this.#close(constants.NGHTTP2_PROTOCOL_ERROR);
  }

  /** Ends the exchange with `reason`, once. */
  #fail(reason: Error): void {
    if (this.#isOver) return;
    const body = this.#body;
    this.#over();
    if (body === undefined) {
      this.reject(reason);
      return;
    }
    if (this.#isGood && isBrokenOff(reason)) this.session.brokenOff(this.exchange);
    body.fail(reason);
  }

  #over(): void {
    this.#isOver = true;
    this.#body = undefined;
    this.deadline = Infinity;
    this.request.cancellation.unsubscribe(this);
    if (this.#stream === undefined) this.session.release(this);
  }

  #close(code: number): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    if (!stream.closed) this.session.tookBack();
    closeStream(stream, code);
    // Node keeps a stream until what it has received was read.
    this.#reader?.stop();
  }
}

/** RFC 9110 section 15: what is beyond these is no status. */
function statusIn(fields: Readonly<Record<string, unknown>>, least: number, most: number): number {
  const status = Number(fields[':status']);
  if (status >= least && status <= most) return status;
  throw new Error(`a status of ${status}`);
}
