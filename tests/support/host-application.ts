import type { Http2Session } from 'node:http2';
import type { TestContext } from 'node:test';
import { fastify, type FastifyInstance } from 'fastify';
import { systemClock } from '../../shared/clock/clock.js';
import { limitsSchema, type LimitsConfig } from '../../shared/config/sections.js';
import { problemResponse } from '../../shared/errors/problem.js';
import { ProxyError } from '../../shared/errors/proxy-error.js';
import type { Exchange } from '../../shared/http/exchange.js';
import type { Service } from '../../shared/http/service.js';
import { mountStack } from '../../shared/listener/fastify/mount-stack.js';

export interface HostApplication {
  readonly application: FastifyInstance;
  /** Resolves with the port. */
  readonly listen: () => Promise<number>;
  /** Resolves with the first exchange that is over. */
  readonly over: Promise<Exchange>;
}

export interface HostOptions {
  readonly http2?: boolean;
  readonly prefix?: string;
  readonly limits?: Partial<LimitsConfig>;
  /** What the application has of its own, before the stack is mounted. */
  readonly own?: (application: FastifyInstance) => void;
}

/** Somebody's application with `service` below `/api`, and `/own` beside it. What nobody catches in it fails the test. */
export async function hostApplication(context: TestContext, service: Service, { http2 = false, prefix = '/api', limits = {}, own }: HostOptions = {}): Promise<HostApplication> {
  const application = (http2 ? fastify({ http2 }) : fastify()) as unknown as FastifyInstance;
  application.get('/own', () => 'mine');
  own?.(application);
  let finished: ((exchange: Exchange) => void) | undefined;
  const over = new Promise<Exchange>((resolve) => (finished = resolve));
  const observed: Service = (request, exchange) => {
    exchange.onFinish(finished!);
    return service(request, exchange);
  };
  const refuse: Service = (request, exchange) => {
    exchange.onFinish(finished!);
    const { reason } = request.cancellation;
    if (!(reason instanceof ProxyError)) return Promise.reject(reason!);
    exchange.errorCode = reason.code;
    return Promise.resolve(problemResponse(reason, ''));
  };
  await application.register((scope) => mountStack(scope, { name: 'test', limits: { ...limitsSchema.parse({}), ...limits }, clock: systemClock, service: observed, refuse }), { prefix });
  const sessions = new Set<Http2Session>();
  application.server.on('session', (session: Http2Session) => sessions.add(session));
  context.after(() => {
    for (const session of sessions) session.destroy();
    return application.close();
  });
  return {
    application,
    over,
    async listen() {
      await application.listen({ port: 0, host: '127.0.0.1' });
      return Number(new URL(application.listeningOrigin).port);
    },
  };
}
