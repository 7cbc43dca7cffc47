import { createServer as createHttpServer } from 'node:http';
import { createSecureServer, type ServerHttp2Session } from 'node:http2';
import type { Server, Socket } from 'node:net';
import type { LimitsConfig } from '../../config/sections.js';
import type { ServerCredentials } from '../../tls/server-credentials.js';
import { sessionOptions } from '../http2/session-options.js';

export interface NodeServerOptions {
  readonly limits: LimitsConfig;
  readonly credentials: ServerCredentials | undefined;
  /** Whether a connection is taken; one that is not has been dealt with. */
  readonly admit: (socket: Socket) => boolean;
  /** Hears of each session of HTTP/2, and the connection that it runs on. */
  readonly onSession: (session: ServerHttp2Session, socket: Socket) => void;
}

/**
 * Node's server with the listener's limits: of HTTP/2 and HTTP/1.1 by ALPN, or of HTTP/1.1 alone. A server of both knows most limits of
 * HTTP/1.1 only as properties, which neither its options nor Fastify set.
 */
export function nodeServer({ limits, credentials, admit, onSession }: NodeServerOptions): Server {
  const server = credentials === undefined ? createHttpServer() : createSecureServer({ ...credentials.options, ...sessionOptions(limits), ALPNProtocols: ['h2', 'http/1.1'], allowHTTP1: true, handshakeTimeout: limits.headTimeout });
  Object.assign(server, {
    maxConnections: limits.maxConnections,
    headersTimeout: limits.headTimeout,
    connectionsCheckingInterval: Math.min(1_000, limits.headTimeout / 2),
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTimeout,
    maxRequestsPerSocket: limits.maxRequestsPerConnection,
    maxHeaderSize: limits.maxHeadBytes,
    // Node drops what is beyond: one more than is accepted shows that it was too many.
    maxHeadersCount: limits.maxHeaders + 1,
    // That and the rest is told in our own words.
    requireHostHeader: false,
  });
  const event = credentials === undefined ? 'connection' : 'secureConnection';
  const [serve] = server.listeners(event) as ((socket: Socket) => void)[];
  server.removeAllListeners(event);
  server.on(event, (socket: Socket) => {
    if (!admit(socket)) return;
    const onOwnSession = (session: ServerHttp2Session): void => onSession(session, socket);
    server.once('session', onOwnSession);
    serve!.call(server, socket);
    server.off('session', onOwnSession);
  });
  return server;
}
