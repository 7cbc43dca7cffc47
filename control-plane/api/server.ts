import Fastify, { type FastifyInstance } from 'fastify';
import type { ServerOptions } from 'node:https';
import { isIP } from 'node:net';
import { isCrossSite } from '../../shared/admin/cross-site.js';
import type { Certificates } from '../ca/open.js';
import type { Access } from './access.js';
import { applyRoutes } from './apply.js';
import type { AuditLog } from './audit-log.js';
import type { Api, ApiContext } from './context.js';
import { historyRoutes } from './history.js';
import { documentApi } from './openapi.js';
import { operationRoutes } from './operations.js';
import { answerError, ApiError, problem } from './problem.js';
import { proxyRoutes } from './proxies.js';
import { registryRoutes } from './registry.js';
import { resourceRoutes } from './resources.js';
import { statusRoutes } from './status.js';
import { acceptYaml, validateWithZod } from './validation.js';
import { watchRoutes } from './watch.js';

interface ApiOptions extends ApiContext {
  readonly access: Access;
  readonly audit: AuditLog;
  /** Of this program; named in the OpenAPI document. */
  readonly version: string;
  /** Speaks TLS. */
  readonly https?: ServerOptions | undefined;
  /** The mesh's certificate authority, where this control plane has one. */
  readonly certificates?: Certificates | undefined;
  /** Whether only names that cannot be rebound are answered: where callers need not show who they are. */
  readonly isOpen: boolean;
}

/** How long a request may take to come with its body, and its head alone (ms), and how often that is looked at. Answers take as long as they do: streams are some. */
const requestTimeout = 30_000;
const connections = { headersTimeout: 10_000, connectionsCheckingInterval: 1_000 };

/** The HTTP API of the control plane: each group of routes is in a file of its own. */
export async function createApi({ access, audit, version, https, isOpen, certificates, ...context }: ApiOptions): Promise<FastifyInstance> {
  const settings = { bodyLimit: 4_194_304, requestTimeout, forceCloseConnections: true, routerOptions: { maxParamLength: 128 } };
  const server = https === undefined ? Fastify({ ...settings, http: connections }) : (Fastify({ ...settings, https: { ...https, ...connections } }) as unknown as FastifyInstance);
  const api = server as unknown as Api;
  api.setErrorHandler((error, _request, reply) => answerError(error, reply, context.logger));
  api.setNotFoundHandler((_request, reply) => problem(reply, 404, 'not_found', 'There is nothing at this address.'));
  api.decorateRequest('caller');
  api.decorateRequest('changed');
  api.decorateRequest('isDryRun', false);
  api.decorateReply('problemCode');
  api.decorateReply('problemPaths');
  validateWithZod(api);
  acceptYaml(api);

  api.addHook('onRequest', async (request, reply) => {
    request.caller = access.initialCaller;
    reply.problemPaths = [];
    // A web page can make a browser send requests here under a name of its own (DNS rebinding).
    if (isOpen && !isOwnName(request.hostname)) throw new ApiError(421, 'host_refused', 'Without access control only requests to an address or to localhost are answered.');
    if (isCrossSite(request)) throw new ApiError(403, 'origin_refused', 'Pages of other sites may ask for nothing here.');
    const { need } = request.routeOptions.config;
    if (need !== undefined) access.check(request, need);
  });
  api.addHook('preHandler', async (request) => audit.check(request));
  api.addHook('onSend', async (request, reply, payload) => audit.record(request, reply, payload));

  await documentApi(api, version);
  resourceRoutes(api, context);
  applyRoutes(api, context);
  historyRoutes(api, context);
  const watch = watchRoutes(api, context);
  statusRoutes(api, context);
  proxyRoutes(api, context);
  registryRoutes(api, context);
  operationRoutes(api, context);
  if (certificates !== undefined) await server.register(certificates.routes);
  api.addHook('preClose', async () => watch.close());
  return server;
}

function isOwnName(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').replace(/:\d+$/, '');
  return isIP(name) !== 0 || name === 'localhost' || /^[\w-]+$/.test(name);
}
