import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import { STATUS_CODES, type Server } from 'node:http';
import { isIP, type AddressInfo, type Socket } from 'node:net';
import { redact } from '../config/redact.js';
import { withoutSchemas } from '../process/without-schemas.js';
import type { Logger } from '../telemetry/logger.js';
import { isCrossSite } from './cross-site.js';
import { shareWhileRunning } from './share-while-running.js';

interface AdminOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Every metric, in the text format that the content type names. */
  readonly metrics: { readonly contentType: string; readonly collect: () => Promise<Buffer> };
  readonly logger: Logger;
  readonly readiness: () => { readonly ready: boolean; readonly reasons: readonly string[] };
  /** The configuration in force; secrets are redacted here. */
  readonly config: () => unknown;
  readonly upstreams: () => Promise<unknown>;
  readonly drain: () => void;
  readonly schema: () => unknown;
  readonly version: string;
}

interface AdminServer {
  listen(): Promise<AddressInfo>;
  close(): Promise<void>;
}

/** How long a request may take to arrive, and a client may take nothing of its answer; and how often the former is looked at (ms). */
const timeoutMs = 10_000;
const checkIntervalMs = 1_000;
/** How long a connection may wait for another request (ms): who asks every few seconds keeps it. */
const keepAliveTimeoutMs = 5_000;
/** What is beyond it is closed, if no other waits for another request: descriptors are for what the proxy is there for. */
const maxConnections = 256;

/** The server that operators and orchestrators talk to. It has no authentication: it belongs on loopback. */
export function createAdminServer(options: AdminOptions): AdminServer {
  const { host, logger, metrics } = options;
  const collect = shareWhileRunning(metrics.collect);
  const server: FastifyInstance = Fastify({
    bodyLimit: 16_384,
    requestTimeout: timeoutMs,
    connectionTimeout: timeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    http: { headersTimeout: timeoutMs, connectionsCheckingInterval: checkIntervalMs },
    forceCloseConnections: true,
    schemaController: withoutSchemas,
    // Of an address that cannot be decoded, which no hook and no handler sees.
    frameworkErrors: (_error, _request, reply) => void problem(reply, 400, 'admin_bad_request'),
  });
  limitConnections(server.server);
  if (!isLoopback(host)) logger.warn({ host }, 'the admin server is reachable from other machines, and anyone who reaches it may drain this process');

  // A web page can make a browser send requests here under a name of its own (DNS rebinding): only names that
  // cannot be rebound are answered, or none, since browsers always send one. Nor may a page of another site ask for anything under ours.
  server.addHook('onRequest', async (request, reply) => {
    // Fastify refuses the type of nothing, too.
    if (request.headers['content-length'] === '0') delete request.headers['content-type'];
    const name = request.hostname.replace(/^\[|\]$/g, '');
    if (name !== '' && isIP(name) === 0 && name !== 'localhost' && name !== host && !/^[\w-]+$/.test(name)) {
      await problem(reply, 421, 'admin_host_refused');
    } else if (isCrossSite(request)) {
      await problem(reply, 403, 'admin_origin_refused');
    }
  });
  server.setNotFoundHandler((_request, reply) => problem(reply, 404, 'admin_not_found'));
  server.setErrorHandler((error, _request, reply) => {
    const { statusCode = 500 } = error as Partial<FastifyError>;
    if (statusCode >= 400 && statusCode < 500) return problem(reply, statusCode, 'admin_bad_request');
    logger.error({ err: error }, 'an admin request failed');
    return problem(reply, 500, 'internal');
  });

  server.get('/', async () => ({ endpoints: ['/healthz', '/readyz', '/metrics', '/config', '/config/schema', '/upstreams', '/version', 'POST /drain'] }));
  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/readyz', async (_request, reply) => {
    const { ready, reasons } = options.readiness();
    return reply.code(ready ? 200 : 503).send({ ready, reasons });
  });
  server.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await collect()));
  server.get('/config', async () => redact(options.config()));
  server.get('/config/schema', async () => options.schema());
  server.get('/upstreams', async () => options.upstreams());
  server.get('/version', async () => ({ version: options.version, node: process.version }));
  server.post('/drain', async (_request, reply) => {
    options.drain();
    return reply.code(202).send({ draining: true });
  });

  return {
    async listen() {
      await server.listen({ host, port: options.port });
      return server.server.address() as AddressInfo;
    },
    close: () => server.close(),
  };
}

/** Those that wait for another request give way to a new one: nobody shuts the others out with what it does not use. */
function limitConnections(server: Server): void {
  const sockets = new Set<Socket>();
  // Before the server knows of it: later versions of Node take one that has not asked yet for idle.
  server.prependListener('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (sockets.size <= maxConnections) return;
    server.closeIdleConnections();
    if ([...sockets].filter(({ destroyed }) => !destroyed).length > maxConnections) socket.destroy();
  });
}

function problem(reply: FastifyReply, status: number, code: string): FastifyReply {
  return reply.code(status).type('application/problem+json').send({ type: 'about:blank', title: STATUS_CODES[status], status, code });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}
