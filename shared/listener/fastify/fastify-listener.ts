import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { METHODS, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { DeadlineSweep } from '../../clock/deadline-sweep.js';
import type { Peer } from '../../http/exchange.js';
import type { ListenerOptions } from '../http1-listener.js';
import { plainAddress } from '../network-list.js';
import { AnswerWatch } from './answer-watch.js';
import { ClientSession } from './client-session.js';
import { mountStack, refusalOf, type Mounted } from './mount-stack.js';
import { nodeServer } from './node-server.js';

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/**
 * The same stack behind Fastify: where HTTP/2 is to be spoken, chosen by ALPN, beside HTTP/1.1. It costs several times what the
 * engine's listener does, and leaves to Node what that one does by itself: the grammar, 100-continue, the timeouts of HTTP/1.1. The limits are
 * the engine's, but for those of which `checkFastifyLimits` says that they are not.
 */
export class FastifyListener {
  readonly options: ListenerOptions;
  readonly #application: FastifyInstance;
  readonly #sweep: DeadlineSweep;
  /** Fastify's side of the server. */
  #serve!: Serve;
  #mounted: Mounted | undefined;
  /** Connections, and how many exchanges each carries; those of HTTP/2 are counted but looked after as sessions. */
  readonly #sockets = new Map<Socket, number>();
  readonly #sessions = new Set<ClientSession>();
  readonly #perClient = new Map<string, number>();
  #draining = false;

  constructor(options: ListenerOptions) {
    this.options = options;
    const { limits, clock, credentials } = options;
    this.#sweep = new DeadlineSweep(clock, [limits.headTimeout, limits.idleTimeout, limits.writeTimeout]);
    const settings = {
      bodyLimit: Number.MAX_SAFE_INTEGER,
      forceCloseConnections: 'idle',
      return503OnClosing: false,
      exposeHeadRoutes: false,
      routerOptions: { maxParamLength: Number.MAX_SAFE_INTEGER },
      frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => void this.#mounted!.refuse(request, reply, refusalOf(error)),
      // Node's own refusals: the stack never hears of them.
      clientErrorHandler: (error: NodeJS.ErrnoException, socket: Socket) => {
        // What comes behind the last request of a connection is nobody's; its answer is still to go out.
        if (error.code === 'HPE_CLOSED_CONNECTION') return;
        const hasSaidNothing = !this.#sockets.has(socket) || (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0);
        if (socket.writable && !hasSaidNothing) socket.write(`HTTP/1.1 ${nodeRefusals[error.code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        if (hasSaidNothing) socket.destroy();
        else socket.destroySoon();
      },
      // With one of its own Fastify would listen on each address of `localhost`, of which only the first has the limits.
      serverFactory: (serve: Serve) => this.#createServer(serve),
    };
    this.#application = fastify(settings as object);
    for (const method of METHODS) {
      if (method !== 'CONNECT' && !this.#application.supportedMethods.includes(method)) this.#application.addHttpMethod(method, { hasBody: true });
    }
    this.#application.addHook('onRequest', (request, reply, done) => {
      this.#count(request.socket, 1);
      reply.raw.once('close', () => this.#count(request.socket, -1));
      done();
    });
    this.#application.addHook('onSend', (request, reply, _payload, done) => {
      // Node announces the last answer of a connection, and leaves it open.
      if (request.raw.httpVersionMajor === 1 && (this.#draining || (reply.raw as LastAnswer).maxRequestsOnConnectionReached === true)) reply.header('connection', 'close');
      done();
    });
    credentials?.serve(this.#server as unknown as TlsServer);
  }

  get #server(): Server {
    return (this.#application as unknown as { server: Server }).server;
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
    return this.#server.address() as AddressInfo;
  }

  /** Stops accepting and lets exchanges in flight finish. */
  async drain(): Promise<void> {
    this.#draining = true;
    const closed = this.#application.close();
    for (const session of this.#sessions) session.goAway();
    for (const [socket, exchanges] of this.#sockets) if (exchanges === 0 && (socket as Partial<TLSSocket>).alpnProtocol !== 'h2') socket.destroy();
    await closed;
  }

  /** Breaks off whatever is left. */
  async close(): Promise<void> {
    const drained = this.drain();
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets.keys()) socket.destroy();
    await drained;
    this.#sweep.close();
  }

  #createServer(serve: Serve): Server {
    const { limits, credentials } = this.options;
    this.#serve = serve;
    const server = nodeServer({ limits, credentials, admit: (socket) => this.#admit(socket), onSession: (session, socket) => this.#watchSession(session, socket) });
    const accept = (request: Request, response: Response): void => this.#accept(request, response);
    server.on('request', accept);
    return server;
  }

  /** Takes a connection, unless its client may not have it. */
  #admit(socket: Socket | TLSSocket): boolean {
    const { credentials, limits, onConnection } = this.options;
    const client = plainAddress(socket.remoteAddress ?? '');
    const count = (this.#perClient.get(client) ?? 0) + 1;
    socket.on('error', ignore);
    if (count > limits.maxConnectionsPerClient || (credentials !== undefined && 'authorized' in socket && credentials.refuses(socket))) {
      socket.destroy();
      return false;
    }
    this.#perClient.set(client, count);
    this.#sockets.set(socket, 0);
    (socket as ProvenSocket)[peerKey] = 'authorized' in socket ? credentials?.peerOf(socket) : undefined;
    onConnection?.(1);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const left = this.#perClient.get(client)! - 1;
      if (left === 0) this.#perClient.delete(client);
      else this.#perClient.set(client, left);
      onConnection?.(-1);
    });
    return true;
  }

  #watchSession(session: ServerHttp2Session, socket: Socket): void {
    const { limits, clock, onFlood } = this.options;
    const client = plainAddress(socket.remoteAddress ?? '');
    const watched = new ClientSession(session, socket, { limits, clock, onFlood: (reason) => onFlood?.(reason, client) });
    this.#sessions.add(watched);
    this.#sweep.add(watched);
    socket.once('close', () => {
      this.#sessions.delete(watched);
      this.#sweep.delete(watched);
    });
    if (this.#draining) watched.goAway();
  }

  #accept(request: Request, response: Response): void {
    const { limits, clock } = this.options;
    const watch = new AnswerWatch(response, clock, limits.writeTimeout);
    this.#sweep.add(watch);
    response.once('close', () => this.#sweep.delete(watch));
    this.#serve(request, response);
  }

  #count(socket: Socket, delta: 1 | -1): void {
    const exchanges = this.#sockets.get(socket);
    if (exchanges !== undefined) this.#sockets.set(socket, exchanges + delta);
  }
}

type Serve = (request: Request, response: Response) => void;

/** With HTTP/2, requests have a stand-in for their socket, which passes on what is asked of it. */
const peerKey = Symbol('peer');
type ProvenSocket = Socket & { [peerKey]?: Peer | undefined };

interface LastAnswer {
  readonly maxRequestsOnConnectionReached?: boolean;
}

/** Socket errors are followed by `close`, where they are dealt with. */
const ignore = (): void => {};

/** Statuses for what Node's server refuses by itself, by its code. */
const nodeRefusals: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};
