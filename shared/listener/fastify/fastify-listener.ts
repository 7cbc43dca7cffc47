import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { IncomingMessage, METHODS, ServerResponse, STATUS_CODES } from 'node:http';
import { Http2ServerResponse, type Http2ServerRequest, type ServerHttp2Session } from 'node:http2';
import { Server as NetServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { DeadlineSweep, type Sweepable } from '../../clock/deadline-sweep.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { methodRefused } from '../../errors/method-refused.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Peer } from '../../http/exchange.js';
import { ConnectionLimits } from '../connection-limits.js';
import { pathAddress, removeStaleSocket } from '../bind.js';
import { goOnAccepting } from '../descriptors.js';
import type { ListenerOptions } from '../http1-listener.js';
import type { DrainOptions } from '../listener.js';
import { peerAddress } from '../peer-address.js';
import { ClientSession } from './client-session.js';
import { asksToContinue, earlyRefusal } from './early-refusal.js';
import { mountStack, refusalOf, type Mounted } from './mount-stack.js';
import { nodeServer } from './node-server.js';
import { Pipeline } from './pipeline.js';
import { onceOver } from './reply.js';

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
  /** Connections; those of HTTP/2 are looked after as sessions. */
  readonly #sockets = new Map<Socket, Client>();
  readonly #sessions = new Set<ClientSession>();
  /** Connections as they were accepted: with TLS, those too whose handshake is still to come, which a drain does not cut off. */
  readonly #accepted = new Set<Socket>();
  /** Requests that are answered with an error, whatever they ask. */
  readonly #refusals = new WeakMap<Request, ProxyError>();
  /** Connections of which nothing more is read, since it makes no sense. */
  readonly #unreadable = new WeakSet<Socket>();
  #draining = false;
  /** Nothing takes its place: connections end with the exchanges that they carry. */
  #isEnding = false;

  constructor(options: ListenerOptions) {
    this.options = options;
    const { limits, clock, credentials } = options;
    this.#sweep = new DeadlineSweep(clock, [limits.headTimeout, limits.idleTimeout]);
    const settings = {
      bodyLimit: Number.MAX_SAFE_INTEGER,
      forceCloseConnections: 'idle',
      return503OnClosing: false,
      exposeHeadRoutes: false,
      routerOptions: { maxParamLength: Number.MAX_SAFE_INTEGER },
      frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => void this.#mounted!.refuse(request, reply, refusalOf(error)),
      clientErrorHandler: (error: NodeJS.ErrnoException, socket: Socket) => this.#onClientError(error, socket),
      // With one of its own Fastify would listen on each address of `localhost`, of which only the first has the limits.
      serverFactory: (serve: Serve) => this.#createServer(serve),
    };
    this.#application = fastify(settings as object);
    for (const method of METHODS) {
      if (method !== 'CONNECT' && !this.#application.supportedMethods.includes(method)) this.#application.addHttpMethod(method, { hasBody: true });
    }
    this.#application.setNotFoundHandler((request, reply) => this.#mounted!.refuse(request, reply, new ProxyError('bad_request')));
    // What is thrown here by nobody's fault but ours.
    this.#application.setErrorHandler((error, request, reply) => this.#mounted!.refuse(request, reply, refusalOf(error)));
    this.#application.addHook('onRequest', async (request, reply) => {
      this.#count(request.socket, 1);
      onceOver(reply, () => this.#count(request.socket, -1));
      const refusal = this.#refusals.get(request.raw);
      return refusal === undefined ? undefined : this.#mounted!.refuse(request, reply, refusal);
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
    if (listen.path !== undefined) {
      await removeStaleSocket(listen.path);
      await this.#application.listen({ path: listen.path });
      return pathAddress(listen.path);
    }
    await this.#application.listen({ host: listen.host ?? '127.0.0.1', port: listen.port ?? 0 });
    return this.#server.address() as AddressInfo;
  }

  /** Stops accepting and lets exchanges in flight finish. */
  async drain({ isReplaced = false }: DrainOptions = {}): Promise<void> {
    this.#draining = true;
    this.#isEnding ||= !isReplaced;
    for (const session of this.#sessions) session.goAway();
    // Where it is replaced, what waits for its next request may wait on, which neither Fastify's end nor that of Node's own servers allows.
    if (isReplaced) await new Promise((resolve) => NetServer.prototype.close.call(this.#server, resolve));
    const closed = this.#application.close();
    for (const [socket, client] of this.#sockets) if (client.exchanges === 0 && (socket as Partial<TLSSocket>).alpnProtocol !== 'h2') this.#endWithoutExchange(socket, client);
    await closed;
  }

  /** Breaks off whatever is left. */
  async close(): Promise<void> {
    const drained = this.drain();
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#accepted) socket.destroy();
    await drained;
    this.#sweep.close();
  }

  /** Node knows which of them wait for a request, and closes those, but not those that have never asked for anything; and once it closes, it counts no time for a head that has begun. */
  #endWithoutExchange(socket: Socket, client: Client): void {
    const { clock, limits } = this.options;
    if (socket.bytesRead === client.bytesOfHandshake) socket.destroy();
    else client.deadline = clock.now() + limits.headTimeout;
  }

  #createServer(serve: Serve): Server {
    const { limits, credentials, onRefusal } = this.options;
    this.#serve = serve;
    const connections = new ConnectionLimits(limits, onRefusal);
    const takes = (socket: Socket): boolean => {
      const client = peerAddress(socket);
      if (client === undefined) {
        socket.destroy();
        return false;
      }
      if (!connections.takes(client, socket) || !connections.takesFrom(client, socket)) return false;
      this.#accepted.add(socket);
      socket.once('close', () => this.#accepted.delete(socket));
      return true;
    };
    const server = nodeServer({ limits, credentials, takes, admit: (socket) => this.#admit(socket), onSession: (session, socket) => this.#watchSession(session, socket) });
    goOnAccepting(server, onRefusal);
    const accept = (request: Request, response: Response): void => this.#accept(request, response);
    for (const event of ['request', 'checkContinue', 'checkExpectation']) server.on(event, accept);
    server.on('connect', (request: Request, to: Http2ServerResponse | Socket) => {
      if (to instanceof Http2ServerResponse) accept(request, to);
      else this.#inTurn(request as IncomingMessage, () => this.#answerOn(to, request as IncomingMessage, methodRefused()));
    });
    return server;
  }

  /** Takes a connection, unless its client may not have it. */
  #admit(socket: Socket | TLSSocket): boolean {
    const { credentials, onConnection } = this.options;
    socket.on('error', ignore);
    // A socket of TLS has not told its address yet, and its client may have reset it behind the handshake.
    if (peerAddress(socket) === undefined || (credentials !== undefined && 'authorized' in socket && credentials.refuses(socket))) {
      socket.destroy();
      return false;
    }
    const client: Client = { exchanges: 0, pipeline: new Pipeline(socket), bytesOfHandshake: socket.bytesRead, deadline: Infinity, onDeadline: () => socket.destroy() };
    this.#sockets.set(socket, client);
    this.#sweep.add(client);
    (socket as ProvenSocket)[peerKey] = 'authorized' in socket ? credentials?.peerOf(socket) : undefined;
    onConnection?.(1);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#sweep.delete(client);
      onConnection?.(-1);
    });
    return true;
  }

  #watchSession(session: ServerHttp2Session, socket: Socket): void {
    const { limits, clock, onFlood } = this.options;
    const client = peerAddress(socket) ?? '';
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
    const begin = (): Response => {
      this.#begin(request, response);
      return response;
    };
    if (request.httpVersionMajor === 1) this.#inTurn(request as IncomingMessage, begin);
    else begin();
  }

  #inTurn(request: IncomingMessage, begin: () => Response): void {
    const pipeline = this.#sockets.get(request.socket)?.pipeline;
    if (pipeline === undefined) begin();
    else pipeline.take(request, begin);
  }

  #begin(request: Request, response: Response): void {
    const refusal = earlyRefusal(request, this.options.limits);
    if (refusal !== undefined) {
      this.#refuse(request, response, refusal);
      return;
    }
    if (asksToContinue(request)) response.writeContinue();
    this.#serve(request, response);
  }

  /** Goes through Fastify as a request that it understands, which it never becomes for the stack. */
  #refuse(request: Request, response: Response, refusal: ProxyError): void {
    this.#refusals.set(request, refusal);
    Object.assign(request, { method: 'GET', url: '/' });
    this.#serve(request, response);
  }

  /** Answers on a connection from which nothing more is read. */
  #answerOn(socket: Socket, request: IncomingMessage, refusal: ProxyError): ServerResponse {
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    this.#refuse(request, response, refusal);
    return response;
  }

  /** Something that Node's parser cannot read, or that did not come in time: of a connection that has begun, or of one that never did. */
  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    // What comes behind the last request of a connection is nobody's; its answer is still to go out.
    if (error.code === 'HPE_CLOSED_CONNECTION' || this.#unreadable.has(socket)) return;
    // A head that began before we stopped reading is not late. Nor is it timed again, but the connection is when it carries nothing more.
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && this.#sockets.get(socket)?.pipeline.isHeld === true) return;
    this.#unreadable.add(socket);
    const hasSaidNothing = !this.#sockets.has(socket) || (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0);
    if (hasSaidNothing) socket.destroy();
    else this.#answerError(new ProxyError(nodeRefusals[error.code ?? ''] ?? 'bad_request', { cause: error }), socket);
  }

  #answerError(refusal: ProxyError, socket: Socket): void {
    const before = (socket as AnsweringSocket)._httpMessage;
    if (!socket.writable) socket.destroy();
    else if (!before) this.#answerOn(socket, unreadMessage(socket), refusal);
    // It is not that one's fault: what is said to it goes out first.
    else if (before.req.complete) before.once('finish', () => this.#answerError(refusal, socket));
    // A second answer within one that has begun could be taken for the rest of it.
    else if (before.headersSent) socket.destroy();
    else if (!this.#mounted!.giveUp(before.req, refusal)) {
      socket.write(`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      socket.destroySoon();
    }
  }

  #count(socket: Socket, delta: 1 | -1): void {
    const client = this.#sockets.get(socket);
    if (client === undefined) return;
    const { limits, clock } = this.options;
    client.exchanges += delta;
    if (client.exchanges === 0 && this.#isEnding) socket.destroySoon();
    // Node starts its `idleTimeout` anew with every byte, those of empty lines too, and tells nobody when a head begins.
    client.deadline = client.exchanges > 0 ? Infinity : clock.now() + limits.idleTimeout + limits.headTimeout;
  }
}

interface Client extends Sweepable {
  /** Those of HTTP/1.x. */
  exchanges: number;
  readonly pipeline: Pipeline;
  /** What had been read of it before it could ask for anything. */
  readonly bytesOfHandshake: number;
}

type Serve = (request: Request, response: Response) => void;

/** With HTTP/2, requests have a stand-in for their socket, which passes on what is asked of it. */
const peerKey = Symbol('peer');
type ProvenSocket = Socket & { [peerKey]?: Peer | undefined };

/** The answer that a connection of HTTP/1.x carries, as Node notes it. */
type AnsweringSocket = Socket & { readonly _httpMessage?: ServerResponse | null };

interface LastAnswer {
  readonly maxRequestsOnConnectionReached?: boolean;
}

/** Socket errors are followed by `close`, where they are dealt with. */
const ignore = (): void => {};

/** Stands for a request that could not be read. */
function unreadMessage(socket: Socket): IncomingMessage {
  const request = new IncomingMessage(socket);
  request.httpVersion = '1.1';
  request.httpVersionMajor = 1;
  request.httpVersionMinor = 1;
  return request;
}

/** What Node's server refuses, by its code. */
const nodeRefusals: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'head_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};
