import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Registry as MetricsRegistry } from 'prom-client';
import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.js';
import { ConfigError, parseConfig, type Problem } from '../../shared/config/load.js';
import { labelsSchema, weightSchema, writeEndpoint, zoneSchema } from '../../shared/config/endpoints.js';
import { address, duration } from '../../shared/config/units.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { collections, resourceSchema, type Resource } from '../model/resources.js';
import type { Publisher } from '../publish/publisher.js';
import type { InstanceSource } from '../sources/instances.js';
import type { Store } from '../sources/store.js';
import { StoreUnavailable } from '../sources/store-unavailable.js';
import { streamTo } from './stream.js';

export interface ApiOptions {
  readonly store: Store;
  readonly registry: InstanceSource;
  readonly publisher: Publisher;
  readonly metrics: MetricsRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tokens: { readonly admin: readonly string[]; readonly proxy: readonly string[] } | undefined;
  readonly isReady: () => boolean;
}

const registrationSchema = z.strictObject({ address, zone: zoneSchema.optional(), weight: weightSchema.default(1), labels: labelsSchema.default({}), ttl: duration });
const answerSchema = z.strictObject({ version: z.string().max(64), accepted: z.boolean(), reason: z.string().max(16_384).optional() });
const streamQuerySchema = z.strictObject({ kind: z.enum(['gateway', 'sidecar']), service: z.string().optional() });
const documentsSchema = z.array(resourceSchema).max(10_000);
const maxTtlMs = 3_600_000;

/** The HTTP API of the control plane. */
export function createApi(options: ApiOptions): FastifyInstance {
  const { store, registry, publisher, logger, clock } = options;
  const api = Fastify({ bodyLimit: 4_194_304, forceCloseConnections: true, routerOptions: { maxParamLength: 128 } });
  api.setErrorHandler((error, _request, reply) => answerError(error, reply, logger));
  api.setNotFoundHandler((_request, reply) => problem(reply, 404, 'not_found', 'There is nothing at this address.'));

  const mayProxy = allow(options.tokens && [...options.tokens.admin, ...options.tokens.proxy]);
  const mayAdminister = allow(options.tokens?.admin);

  for (const [collection, kind] of Object.entries(collections)) {
    api.get(`/v1/${collection}`, { onRequest: mayAdminister }, async () => ({ version: store.version, items: store.model.all.filter((resource) => resource.kind === kind) }));
    api.get<{ Params: { name: string } }>(`/v1/${collection}/:name`, { onRequest: mayAdminister }, async (request, reply) => {
      return store.model.get(kind, request.params.name) ?? problem(reply, 404, 'not_found', `There is no ${kind} of that name.`);
    });
    api.put<{ Params: { name: string } }>(`/v1/${collection}/:name`, { onRequest: mayAdminister }, async (request) => {
      const resource = { ...(request.body as object), kind, name: request.params.name };
      parseConfig(resource, resourceSchema);
      return { version: await store.change({ put: [resource as Resource], by: 'api', action: 'apply' }) };
    });
    api.delete<{ Params: { name: string } }>(`/v1/${collection}/:name`, { onRequest: mayAdminister }, async (request, reply) => {
      if (store.model.get(kind, request.params.name) === undefined) return problem(reply, 404, 'not_found', `There is no ${kind} of that name.`);
      return { version: await store.change({ remove: [{ kind, name: request.params.name }], by: 'api', action: 'delete' }) };
    });
  }

  api.post<{ Querystring: { dryRun?: string } }>('/v1/apply', { onRequest: mayAdminister }, async (request) => {
    parseConfig(request.body, documentsSchema);
    const change = { put: request.body as Resource[], by: 'api', action: 'apply' };
    if (request.query.dryRun !== 'true') return { version: await store.change(change) };
    await store.dryRun(change);
    return { version: store.version };
  });

  api.get<{ Querystring: { settled?: string; timeout?: string } }>('/v1/status', { onRequest: mayAdminister }, async (request, reply) => {
    const { settled, timeout } = request.query;
    if (settled === 'true') await untilSettled(publisher, clock, duration.parse(timeout ?? '5s'));
    reply.code(settled === 'true' && !publisher.isSettled ? 504 : 200);
    return { version: store.version, settled: publisher.isSettled, proxies: publisher.statuses };
  });

  type InstancePath = { Params: { service: string; instance: string } };
  api.get('/v1/registry', { onRequest: mayProxy }, async () => ({
    instances: registry.instances.map(({ endpoint, leaseMs, ...instance }) => ({ ...instance, ...(typeof endpoint === 'string' ? { address: endpoint } : endpoint), leaseMs })),
  }));
  api.put<InstancePath>('/v1/registry/:service/:instance', { onRequest: mayProxy }, async (request) => {
    const { ttl, address, zone, weight, labels } = parseConfig(request.body, registrationSchema);
    if (ttl < 100 || ttl > maxTtlMs) throw new ConfigError([{ path: 'ttl', message: 'expected 100ms to 1h' }]);
    const { service, instance } = request.params;
    await registry.register({ service, instance, endpoint: writeEndpoint({ address, zone, weight, labels, priority: 0 }) }, ttl);
    return { ttl };
  });
  api.delete<InstancePath>('/v1/registry/:service/:instance', { onRequest: mayProxy }, async (request, reply) => {
    await registry.deregister(request.params.service, request.params.instance);
    return reply.code(204).send();
  });

  type NodePath = { Params: { node: string } };
  api.get<NodePath>('/v1/proxies/:node/stream', { onRequest: mayProxy }, async (request, reply) => {
    const { kind, service } = parseConfig(request.query, streamQuerySchema);
    reply.hijack();
    streamTo(reply.raw, { node: request.params.node, kind, service }, publisher, clock);
  });
  api.post<NodePath>('/v1/proxies/:node/status', { onRequest: mayProxy }, async (request, reply) => {
    const { version, accepted, reason } = parseConfig(request.body, answerSchema);
    const { node } = request.params;
    if (!accepted) logger.warn({ node, version, reason }, 'a proxy rejected its snapshot');
    if (!publisher.answer(node, version, accepted ? undefined : (reason ?? 'no reason was given'))) return problem(reply, 404, 'not_found', 'No proxy of that name is connected.');
    return reply.code(204).send();
  });

  api.get('/healthz', async () => ({ status: 'ok' }));
  api.get('/readyz', async (_request, reply) => reply.code(options.isReady() ? 200 : 503).send({ ready: options.isReady() }));
  api.get('/metrics', async (_request, reply) => reply.type(options.metrics.contentType).send(await options.metrics.metrics()));
  return api;
}

/** Compares digests, so that the time taken says nothing about the token. */
function allow(tokens: readonly string[] | undefined): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const digests = tokens?.map(digest);
  return async (request, reply) => {
    if (digests === undefined) return;
    const offered = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const isKnown = offered !== undefined && digests.filter((known) => timingSafeEqual(known, digest(offered))).length > 0;
    if (!isKnown) await problem(reply.header('WWW-Authenticate', 'Bearer'), offered === undefined ? 401 : 403, 'not_allowed', 'A token that allows this is required.');
  };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function untilSettled(publisher: Publisher, clock: Clock, timeoutMs: number): Promise<void> {
  if (publisher.isSettled) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      timer.cancel();
      unsubscribe();
      resolve();
    };
    const timer = clock.after(timeoutMs, finish);
    const unsubscribe = publisher.onProgress(() => publisher.isSettled && finish());
  });
}

function answerError(error: unknown, reply: FastifyReply, logger: Logger): FastifyReply {
  if (error instanceof ConfigError) return problem(reply, 422, 'invalid', 'The document is not valid.', error.problems);
  if (error instanceof StoreUnavailable) return problem(reply.header('retry-after', '1'), 503, error.code, error.message);
  const { statusCode = 500, message } = error as { statusCode?: number; message: string };
  if (statusCode >= 500) logger.error({ err: error }, 'a request failed');
  return problem(reply, statusCode, statusCode >= 500 ? 'internal' : 'bad_request', statusCode >= 500 ? 'The control plane failed to handle the request.' : message);
}

function problem(reply: FastifyReply, status: number, code: string, detail: string, problems?: readonly Problem[]): FastifyReply {
  return reply.code(status).type('application/problem+json').send({ type: 'about:blank', status, code, detail, ...(problems && { problems }) });
}
