import httpProxy, { type FastifyHttpProxyOptions } from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { constants, type Http2ServerRequest, type Http2ServerResponse, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Clock } from '../../clock/clock.js';
import type { LimitsConfig } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { emptyBody, type Body } from '../../http/body.js';
import { Exchange, type Peer } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { BodyReadable, ReadableBody } from '../../http/readable.js';
import type { Service } from '../../http/service.js';
import { requestFraming } from '../../http1/framing.js';
import { removeHopByHop } from '../../http1/hop-by-hop.js';
import { checkScheme, parseAuthority, parseTarget } from '../../http1/target.js';
import { writeFields } from '../../http2/fields.js';
import { plainAddress } from '../network-list.js';
import { violationToError } from '../violations.js';

export interface MountOptions {
  /** Name in logs and metrics. */
  readonly name: string;
  readonly limits: LimitsConfig;
  readonly clock: Clock;
  readonly service: Service;
  /** Answers what never became a request. */
  readonly refuse: Service;
  /** Whom a client's connection has proven to belong to. */
  readonly peerOf?: ((socket: Socket) => Peer | undefined) | undefined;
  /** Where in the application the stack is mounted; the path goes upstream as the client sent it. */
  readonly prefix?: string | undefined;
}

/** What @fastify/http-proxy takes for an undici client: it asks for nothing but this. */
interface Requestable {
  request(options: { readonly headers: object; readonly body?: unknown }, done: (error: Error | null, response?: Answer) => void): void;
  destroy(): void;
}

interface Answer {
  readonly statusCode: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Readable | Buffer;
}

/** Carries the incoming request through the fields that the plugin passes to its client. */
const incoming = Symbol('incoming request');

/**
 * Mounts a stack in a Fastify application, through @fastify/http-proxy: the plugin does the routing and the streams,
 * its `undici` option is the stack. So balancing, retries, breaking and TLS towards upstreams are the same code as
 * behind the engine's own listener.
 *
 * What Node's parser accepts is what comes here; fields, path and authority are then read by the engine's rules.
 */
export async function mountStack(application: FastifyInstance, options: MountOptions): Promise<Mounted> {
  const mounted = new MountedStack(options);
  await application.register(async (scope) => {
    // The stack's errors are answers already; what is thrown here was refused by Fastify or the plugin.
    scope.setErrorHandler((error, request, reply) => mounted.refuse(request, reply, refusalOf(error)));
    const proxyOptions: FastifyHttpProxyOptions & { retryMethods: readonly string[] } = {
      upstream: 'http://stack.invalid',
      prefix: options.prefix ?? '/',
      undici: mounted as never,
      httpMethods: scope.supportedMethods.filter((method) => method !== 'CONNECT'),
      // Retries are the stack's: with its default the plugin sends one GET that gets 503 eleven times.
      retryMethods: [],
      internalRewriteLocationHeader: false,
      disableRequestLogging: true,
      // Where a request goes is decided by its own target.
      preRewrite: () => '/',
      replyOptions: {
        queryString: () => '',
        rewriteRequestHeaders: (request, headers) => ({ ...headers, [incoming]: request }),
      },
    };
    scope.addHook('preHandler', (request, reply, done) => {
      mounted.expect(request, reply);
      done();
    });
    await scope.register(httpProxy, proxyOptions);
  });
  return mounted;
}

export interface Mounted {
  /** Answers in the stack's way what Fastify would have refused in its own. */
  refuse(request: FastifyRequest, reply: FastifyReply, error: ProxyError): Promise<unknown>;
}

/** Which of our errors a refusal of Fastify's is. */
export function refusalOf(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  const { statusCode } = error as { statusCode?: number };
  return new ProxyError(statusCode === 413 ? 'body_too_large' : statusCode !== undefined && statusCode < 500 ? 'bad_request' : 'internal', { cause: error });
}

class MountedStack implements Requestable, Mounted {
  readonly #replies = new WeakMap<FastifyRequest, FastifyReply>();

  constructor(private readonly options: MountOptions) {}

  expect(request: FastifyRequest, reply: FastifyReply): void {
    this.#replies.set(request, reply);
  }

  request({ headers, body }: { readonly headers: object; readonly body?: unknown }, done: (error: Error | null, response?: Answer) => void): void {
    const request = (headers as { [incoming]: FastifyRequest })[incoming];
    const reply = this.#replies.get(request)!;
    const exchange = this.#open(request, reply);
    let sent: HttpRequest;
    let service = this.options.service;
    try {
      sent = this.#read(request, body as Readable | undefined, exchange);
    } catch (error) {
      service = this.options.refuse;
      sent = refused(exchange, violationToError(error));
    }
    void this.#run(service, sent, exchange, reply, (answer) => done(null, answer));
  }

  async refuse(request: FastifyRequest, reply: FastifyReply, error: ProxyError): Promise<unknown> {
    const exchange = this.#open(request, reply);
    await this.#run(this.options.refuse, refused(exchange, error), exchange, reply, ({ statusCode, headers, body }) => reply.code(statusCode).headers(headers).send(body));
    return reply;
  }

  destroy(): void {}

  #open(request: FastifyRequest, reply: FastifyReply): Exchange {
    const { name, clock } = this.options;
    const exchange = new Exchange(name, plainAddress(request.socket.remoteAddress ?? ''), clock.now());
    exchange.peer = this.options.peerOf?.(request.socket);
    exchange.httpVersion = request.raw.httpVersionMajor === 2 ? '2' : request.raw.httpVersion === '1.0' ? '1.0' : '1.1';
    exchange.inform = (status, headers) => {
      if (status === 103 && exchange.httpVersion !== '1.0' && !reply.raw.headersSent && !isGone(reply)) writeHints(reply, headers);
    };
    const onClose = (): void => {
      if (!isSent(reply)) {
        const error = new ProxyError(exchange.errorCode ?? 'client_closed');
        exchange.errorCode = error.code;
        if (exchange.status === 0) exchange.status = error.entry.status;
        exchange.cancellation.cancel(error);
      }
      exchange.finish(clock.now());
    };
    // Hooks of the application may have taken so long that the client left meanwhile: `close` does not come twice.
    if (isGone(reply)) process.nextTick(onClose);
    else reply.raw.once('close', onClose);
    return exchange;
  }

  #read(request: FastifyRequest, body: Readable | undefined, exchange: Exchange): HttpRequest {
    const { raw } = request;
    const { limits } = this.options;
    const method = raw.method!;
    const headers = Headers.empty();
    for (let index = 0; index < raw.rawHeaders.length; index += 2) {
      if (!raw.rawHeaders[index]!.startsWith(':')) headers.append(raw.rawHeaders[index]!, raw.rawHeaders[index + 1]!);
    }
    if (headers.size > limits.maxHeaders) throw new ProxyError('head_too_large');
    if (raw.url!.length > limits.maxTargetBytes) throw new ProxyError('target_too_long');
    // Node reads codings before chunked and drops them with the field: what goes on would not be what was meant.
    if (raw.httpVersionMajor === 1) requestFraming(headers, raw.httpVersionMinor);
    const target = parseTarget(raw.url!, method);
    const isSecure = (raw.socket as { encrypted?: boolean }).encrypted === true;
    checkScheme(target, isSecure);
    if (headers.getAll('host').length > 1) throw new ProxyError('bad_request');
    const authority = target.authority ?? parseAuthority((raw.headers[':authority'] as string | undefined) ?? headers.get('host') ?? '');
    if (authority !== '') headers.set('Host', authority);
    const length = headers.has('content-length') ? Number(headers.get('content-length')) : undefined;
    if (length !== undefined && length > limits.maxBodyBytes) throw new ProxyError('body_too_large');
    removeHopByHop(headers);
    headers.delete('expect');
    // Of GET and HEAD Fastify reads no body: the request goes on without.
    const incomingBody = typeof body === 'object' ? body : unannouncedBody(raw);
    const hasBody = incomingBody !== undefined;
    if (!hasBody && length !== 0) headers.delete('content-length');
    return {
      method,
      target: target.target,
      path: target.path,
      authority,
      scheme: isSecure ? 'https' : 'http',
      headers,
      body: hasBody ? this.#body(request, incomingBody, length, exchange) : emptyBody,
      cancellation: exchange.cancellation,
    };
  }

  #body({ raw }: FastifyRequest, readable: Readable, length: number | undefined, exchange: Exchange): Body {
    const { maxBodyBytes, bodyIdleTimeout } = this.options.limits;
    raw.setTimeout(bodyIdleTimeout, () => {
      // A client that we made wait is not the one that is late.
      if (!raw.complete && !readable.isPaused()) exchange.cancellation.cancel(new ProxyError('request_timeout'));
    });
    readable.once('end', () => raw.setTimeout(0));
    return new ReadableBody(readable, length, (chunk) => {
      exchange.requestBytes += chunk.length;
      if (exchange.requestBytes <= maxBodyBytes) return;
      const error = new ProxyError('body_too_large');
      exchange.cancellation.cancel(error);
      throw error;
    });
  }

  /** Hands the answer to `send`, unless nobody is left to get it. Never rejects: nobody would hear of it but the process. */
  async #run(service: Service, request: HttpRequest, exchange: Exchange, reply: FastifyReply, send: (answer: Answer) => void): Promise<void> {
    exchange.request = request;
    try {
      const response = await service(request, exchange);
      // The plugin destroys what it cannot send any more, which bytes do not understand.
      if (isGone(reply)) {
        response.body.cancel(exchange.cancellation.reason ?? new ProxyError('client_closed'));
        return;
      }
      exchange.status = response.status;
      const answer = answerOf(request.method, response, exchange, reply);
      // Who was refused once has lost our trust in where its next request begins, and so has one whose body was cut off.
      if ((service === this.options.refuse || exchange.cancellation.isCancelled) && exchange.httpVersion !== '2') answer.headers['connection'] = 'close';
      send(answer);
    } catch (error) {
      // The stack turns errors into responses, and Fastify sends them; what still arrives here is a defect in one of them.
      reply.log.error(error);
      exchange.errorCode ??= 'internal';
      exchange.cancellation.cancel(error as Error);
      const stream = streamOf(reply);
      if (stream === undefined) reply.raw.destroy();
      else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  }
}

/** The stream that a reply goes out on, in HTTP/2. */
function streamOf(reply: FastifyReply): ServerHttp2Stream | undefined {
  return (reply.raw as unknown as Partial<Http2ServerResponse>).stream;
}

/** Whether the client has left. A response of HTTP/2 has no `destroyed`, its stream has; the plugin asks for `aborted`. */
function isGone(reply: FastifyReply): boolean {
  const stream = streamOf(reply);
  const { aborted } = reply.request.raw as { readonly aborted: boolean };
  return aborted || (stream === undefined ? reply.raw.destroyed : stream.closed || stream.destroyed);
}

/** Whether a reply that is closed went out whole. Node ends a stream of HTTP/2 that the client resets, and calls it finished. */
function isSent(reply: FastifyReply): boolean {
  const stream = streamOf(reply);
  return stream === undefined ? reply.raw.writableFinished : reply.raw.writableEnded && stream.rstCode === constants.NGHTTP2_NO_ERROR;
}

function writeHints(reply: FastifyReply, headers: Headers): void {
  const stream = streamOf(reply);
  if (stream !== undefined) {
    stream.additionalHeaders(writeFields(headers, { ':status': 103 }));
    return;
  }
  try {
    reply.raw.writeEarlyHints(writeFields(headers, {}) as Record<string, string | string[]>);
  } catch {
    // Node is particular about `Link`. A hint may stay out; the answer may not.
  }
}

/** Type and subtype (RFC 9110 section 8.3.1). */
const mediaType = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(?:;|$)/;

function answerOf(method: string, { status, headers, body }: HttpResponse, exchange: Exchange, reply: FastifyReply): Answer {
  removeHopByHop(headers);
  for (const [name, value] of exchange.responseFields) headers.set(name, value);
  // Over HTTP/2, Node sends nothing behind 205 either (RFC 9110 section 15.3.6).
  const isEmpty = status === 204 || status === 205;
  if (isEmpty) headers.delete('content-length');
  const hasBody = method !== 'HEAD' && !isEmpty && status !== 304;
  const fields = writeFields(headers, {});
  // Fastify makes up a type for bytes that have none, or none that it can read, but not for a stream.
  if (hasBody && body.whole !== undefined && body.whole.length > 0 && mediaType.test(headers.getCombined('content-type') ?? '')) {
    exchange.responseBytes = body.whole.length;
    return { statusCode: status, headers: fields, body: body.whole.bytes };
  }
  const readable = new BodyReadable(hasBody ? body : emptyBody, (reason) => {
    exchange.errorCode ??= reason instanceof ProxyError ? reason.code : 'upstream_truncated';
    // Destroyed without a code, a stream of HTTP/2 would look as if it had ended well.
    streamOf(reply)?.close(constants.NGHTTP2_INTERNAL_ERROR);
  });
  if (!hasBody) body.cancel(new Error('the response has no body'));
  exchange.countBytes = () => {
    exchange.responseBytes = readable.bytes;
  };
  return { statusCode: status, headers: fields, body: readable };
}

/** In HTTP/2 a body needs no field that announces it; without one Fastify overlooks it. */
function unannouncedBody(raw: FastifyRequest['raw']): Readable | undefined {
  const { stream } = raw as unknown as Partial<Http2ServerRequest>;
  return stream === undefined || stream.endAfterHeaders || raw.method === 'GET' || raw.method === 'HEAD' ? undefined : raw;
}

function refused(exchange: Exchange, error: ProxyError): HttpRequest {
  exchange.cancellation.cancel(error);
  return { method: '-', target: '-', path: '-', authority: '', scheme: 'http', headers: Headers.empty(), body: emptyBody, cancellation: exchange.cancellation };
}

