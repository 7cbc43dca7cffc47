import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { METHODS } from 'node:http';
import type { Http2Session } from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import type { Peer } from '../../http/exchange.js';
import type { ListenerOptions } from '../http1-listener.js';
import { mountStack, refusalOf, type Mounted } from './mount-stack.js';

/**
 * The same stack behind Fastify: where HTTP/2 is to be spoken, chosen by ALPN, beside HTTP/1.1. It costs several times what the
 * engine's listener does, and leaves to Node what that one does by itself: the grammar, timeouts, 100-continue.
 */
export class FastifyListener {
  readonly options: ListenerOptions;
  readonly #application: FastifyInstance;
  #mounted: Mounted | undefined;
  /** Connections, and how many exchanges each carries; those of HTTP/2 are counted but looked after as sessions. */
  readonly #sockets = new Map<Socket, number>();
  readonly #sessions = new Set<Http2Session>();
  #draining = false;

  constructor(options: ListenerOptions) {
    this.options = options;
    const { limits, credentials } = options;
    const settings = {
      bodyLimit: Number.MAX_SAFE_INTEGER,
      connectionTimeout: 0,
      keepAliveTimeout: limits.idleTimeout,
      requestTimeout: 0,
      maxRequestsPerSocket: limits.maxRequestsPerConnection,
      forceCloseConnections: 'idle',
      return503OnClosing: false,
      exposeHeadRoutes: false,
      routerOptions: { maxParamLength: Number.MAX_SAFE_INTEGER },
      frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => void this.#mounted!.refuse(request, reply, refusalOf(error)),
      // Node's own refusals: the stack never hears of them.
      clientErrorHandler: (error: NodeJS.ErrnoException, socket: Socket) => {
        // What comes behind the last request of a connection is nobody's; its answer is still to go out.
        if (error.code === 'HPE_CLOSED_CONNECTION') return;
        if (socket.writable) socket.write(`HTTP/1.1 ${nodeRefusals[error.code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        socket.destroySoon();
      },
      http: { maxHeaderSize: limits.maxHeadBytes, headersTimeout: limits.headTimeout, connectionsCheckingInterval: Math.min(1_000, limits.headTimeout / 2) },
      ...(credentials && { http2: true, https: { ...credentials.options, ALPNProtocols: ['h2', 'http/1.1'], allowHTTP1: true, maxHeaderSize: limits.maxHeadBytes, headersTimeout: limits.headTimeout, settings: { maxHeaderListSize: limits.maxHeadBytes, maxConcurrentStreams: 128 } } }),
    };
    this.#application = fastify(settings as object);
    for (const method of METHODS) {
      if (method !== 'CONNECT' && !this.#application.supportedMethods.includes(method)) this.#application.addHttpMethod(method, { hasBody: true });
    }
    const { server } = this.#application as unknown as { server: Server };
    server.maxConnections = limits.maxConnections;
    // Before Node's own listener reads from it.
    server.prependListener(credentials === undefined ? 'connection' : 'secureConnection', (socket: Socket | TLSSocket) => {
      if (credentials !== undefined && 'authorized' in socket && credentials.refuses(socket)) {
        socket.destroy();
        return;
      }
      this.#sockets.set(socket, 0);
      (socket as ProvenSocket)[peerKey] = 'authorized' in socket ? credentials?.peerOf(socket) : undefined;
      options.onConnection?.(1);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        options.onConnection?.(-1);
      });
    });
    server.on('session', (session: Http2Session) => {
      this.#sessions.add(session);
      session.once('close', () => this.#sessions.delete(session));
    });
    this.#application.addHook('onRequest', (request, reply, done) => {
      this.#count(request.socket, 1);
      reply.raw.once('close', () => this.#count(request.socket, -1));
      done();
    });
    this.#application.addHook('onSend', (request, reply, _payload, done) => {
      if (this.#draining && request.raw.httpVersionMajor === 1) reply.header('connection', 'close');
      done();
    });
    credentials?.serve(server as unknown as TlsServer);
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  get connectionCount(): number {
    return this.#sockets.size;
  }

  /** Starts to listen; rejects when the address cannot be taken. Resolves with the address taken. */
  async listen(): Promise<AddressInfo> {
    const { listen, name, limits, clock, service, refuse } = this.options;
    this.#mounted = await mountStack(this.#application, { name, limits, clock, service, refuse, peerOf: (socket) => (socket as ProvenSocket)[peerKey] });
    await this.#application.listen(listen.path === undefined ? { host: listen.host ?? '127.0.0.1', port: listen.port ?? 0 } : { path: listen.path });
    return (this.#application as unknown as { server: Server }).server.address() as AddressInfo;
  }

  /** Stops accepting and lets exchanges in flight finish. */
  async drain(): Promise<void> {
    this.#draining = true;
    const closed = this.#application.close();
    // Each session says GOAWAY and ends with its last stream.
    for (const session of this.#sessions) session.close();
    for (const [socket, exchanges] of this.#sockets) if (exchanges === 0 && (socket as Partial<TLSSocket>).alpnProtocol !== 'h2') socket.destroy();
    await closed;
  }

  /** Breaks off whatever is left. */
  async close(): Promise<void> {
    const drained = this.drain();
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets.keys()) socket.destroy();
    await drained;
  }

  #count(socket: Socket, delta: 1 | -1): void {
    const exchanges = this.#sockets.get(socket);
    if (exchanges !== undefined) this.#sockets.set(socket, exchanges + delta);
  }
}

/** With HTTP/2, requests have a stand-in for their socket, which passes on what is asked of it. */
const peerKey = Symbol('peer');
type ProvenSocket = Socket & { [peerKey]?: Peer | undefined };

/** Statuses for what Node's server refuses by itself, by its code. */
const nodeRefusals: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};
