import { createServer as createHttpServer } from 'node:http';
import { createSecureServer, type ServerHttp2Session } from 'node:http2';
import type { Server, Socket } from 'node:net';
import type { LimitsConfig } from '../../config/sections.js';
import type { ServerCredentials } from '../../tls/server-credentials.js';
import { sessionOptions } from '../http2/session-options.js';

interface NodeServerOptions {
  readonly limits: LimitsConfig;
  readonly credentials: ServerCredentials | undefined;
  /** Whether a connection may come, whatever it has still to pass; one that may not has been dealt with. */
  readonly takes: (socket: Socket) => boolean;
  /** Whether one that has passed its handshake, if there is one, is served; one that is not has been dealt with. */
  readonly admit: (socket: Socket) => boolean;
  /** Hears of each session of HTTP/2, and the connection that it runs on. */
  readonly onSession: (session: ServerHttp2Session, socket: Socket) => void;
}

/**
 * Node's server with the listener's limits: of HTTP/2 and HTTP/1.1 by ALPN, or of HTTP/1.1 alone. A server of both knows most limits of
 * HTTP/1.1 only as properties, which neither its options nor Fastify set.
 */
export function nodeServer({ limits, credentials, takes, admit, onSession }: NodeServerOptions): Server {
  const server = credentials === undefined ? createHttpServer() : createSecureServer({ ...credentials.options, ...sessionOptions(limits), ALPNProtocols: ['h2', 'http/1.1'], allowHTTP1: true, handshakeTimeout: limits.headTimeout });
  Object.assign(server, {
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
  replaceListener(server, credentials === undefined ? 'connection' : 'secureConnection', (socket, serve) => {
    if (!admit(socket)) return;
    const onOwnSession = (session: ServerHttp2Session): void => onSession(session, socket);
    server.once('session', onOwnSession);
    serve(socket);
    server.off('session', onOwnSession);
  });
  replaceListener(server, 'connection', (socket, serve) => {
    if (takes(socket)) serve(socket);
  });
  return server;
}

/** Has `replacement` hear of connections in the place of the server itself, which it may pass them to. */
function replaceListener(server: Server, event: 'connection' | 'secureConnection', replacement: (socket: Socket, serve: (socket: Socket) => void) => void): void {
  const [serve] = server.listeners(event) as ((socket: Socket) => void)[];
  server.removeAllListeners(event);
  server.on(event, (socket: Socket) => replacement(socket, serve!.bind(server)));
}
