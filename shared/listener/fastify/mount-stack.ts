import httpProxy, { type FastifyHttpProxyOptions } from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Clock } from '../../clock/clock.js';
import { DeadlineSweep } from '../../clock/deadline-sweep.js';
import type { RequestLimitsConfig } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Peer } from '../../http/exchange.js';
import type { Service } from '../../http/service.js';
import { CarriedExchange, type Answer } from './carried-exchange.js';
import { hasMediaType } from './reply.js';

export interface MountOptions {
  /** Name in logs and metrics. */
  readonly name: string;
  readonly limits: RequestLimitsConfig;
  readonly clock: Clock;
  readonly service: Service;
  /** Answers what never became a request. */
  readonly refuse: Service;
  /** Whom a client's connection has proven to belong to. */
  readonly peerOf?: ((socket: Socket) => Peer | undefined) | undefined;
}

/** What @fastify/http-proxy takes for an undici client: it asks for nothing but this. */
interface Requestable {
  request(options: { readonly headers: object; readonly body?: unknown }, done: (error: Error | null, response?: Answer) => void): void;
  destroy(): void;
}

/** Carries the incoming request through the fields that the plugin passes to its client. */
const incoming = Symbol('incoming request');

/**
 * Mounts a stack in a Fastify application below its prefix, through @fastify/http-proxy: the plugin does the routing and the streams,
 * its `undici` option is the stack. So balancing, retries, breaking and TLS towards upstreams are the same code as
 * behind the engine's own listener. The path goes upstream as the client sent it, prefix included.
 *
 * What Node's parser accepts is what comes here; fields, path and authority are then read by the engine's rules.
 */
export async function mountStack(application: FastifyInstance, options: MountOptions): Promise<Mounted> {
  const mounted = new MountedStack(options, application.prefix);
  application.addHook('onClose', () => mounted.close());
  await application.register(async (scope) => {
    scope.setErrorHandler((error, request, reply) => {
      // What a hook of the application throws is the application's to answer.
      if (!isOurs(error)) throw error;
      return mounted.refuse(request, reply, refusalOf(error));
    });
    // Bodies pass as they are, whatever parsers the application has.
    scope.removeAllContentTypeParsers();
    scope.addHook('onRequest', ({ raw }, _reply, done) => {
      // Fastify refuses a type that it cannot read, and QUERY without one; it has no need to read any: what goes on are the fields as they came.
      if (!hasMediaType(raw.headers)) {
        if (raw.headers['content-type'] !== undefined) delete raw.headers['content-type'];
        if (raw.method === 'QUERY') raw.headers['content-type'] = 'application/octet-stream';
      }
      done();
    });
    scope.addHook('preHandler', (request, reply, done) => {
      mounted.expect(request, reply);
      done();
    });
    const proxyOptions: FastifyHttpProxyOptions & { retryMethods: readonly string[] } = {
      upstream: 'http://stack.invalid',
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
    await scope.register(httpProxy, proxyOptions);
  });
  return mounted;
}

export interface Mounted {
  /** Answers in the stack's way what Fastify would have refused in its own. */
  refuse(request: FastifyRequest, reply: FastifyReply, error: ProxyError): Promise<unknown>;
  /** Has the stack answer a request of which the rest cannot come, if the stack has it. */
  giveUp(request: RawRequest, error: ProxyError): boolean;
}

type RawRequest = FastifyRequest['raw'];

/** Refused by the stack, by Fastify as it looked for the body, or by the plugin. */
function isOurs(error: unknown): boolean {
  return error instanceof ProxyError || /^FST_(?:ERR_CTP|REPLY_FROM)_/.test(String((error as { code?: unknown }).code));
}

/** Which of our errors a refusal of Fastify's is. */
export function refusalOf(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  const { statusCode } = error as { statusCode?: number };
  return new ProxyError(statusCode === 413 ? 'body_too_large' : statusCode !== undefined && statusCode < 500 ? 'bad_request' : 'internal', { cause: error });
}

class MountedStack implements Requestable, Mounted {
  readonly #replies = new WeakMap<FastifyRequest, FastifyReply>();
  readonly #carried = new WeakMap<RawRequest, CarriedExchange>();
  readonly #sweep: DeadlineSweep;

  constructor(
    private readonly options: MountOptions,
    private readonly prefix: string,
  ) {
    this.#sweep = new DeadlineSweep(options.clock, [options.limits.bodyIdleTimeout, options.limits.writeTimeout]);
  }

  expect(request: FastifyRequest, reply: FastifyReply): void {
    this.#replies.set(request, reply);
  }

  request({ headers, body }: { readonly headers: object; readonly body?: unknown }, done: (error: Error | null, response?: Answer) => void): void {
    const request = (headers as { [incoming]: FastifyRequest })[incoming];
    const carried = this.#carry(request, this.#replies.get(request)!);
    void carried.carry(body as Readable | undefined, this.prefix, (answer) => done(null, answer));
  }

  async refuse(request: FastifyRequest, reply: FastifyReply, error: ProxyError): Promise<unknown> {
    const send = ({ statusCode, headers, body }: Answer): FastifyReply => reply.code(statusCode).headers(headers).send(body);
    const begun = this.#carried.get(request.raw);
    if (begun === undefined) await this.#carry(request, reply).refuse(error, send);
    else send(begun.failed(error));
    return reply;
  }

  giveUp(request: RawRequest, error: ProxyError): boolean {
    const carried = this.#carried.get(request);
    carried?.exchange.cancellation.cancel(error);
    return carried !== undefined;
  }

  destroy(): void {}

  close(): void {
    this.#sweep.close();
  }

  #carry(request: FastifyRequest, reply: FastifyReply): CarriedExchange {
    const carried = new CarriedExchange(request, reply, this.options, () => this.#sweep.delete(carried));
    this.#carried.set(request.raw, carried);
    this.#sweep.add(carried);
    this.#sweep.soon(carried.deadline);
    return carried;
  }
}
