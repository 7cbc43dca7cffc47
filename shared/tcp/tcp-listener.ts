import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { TcpListenerConfig } from '../config/tcp.js';
import type { Peer } from '../http/exchange.js';
import type { Service } from '../http/service.js';
import { bind } from '../listener/bind.js';
import type { OnRefusal } from '../listener/connection-limits.js';
import { descriptorLimit, hasLastDescriptor } from '../listener/descriptors.js';
import { awaitFirstByte } from '../listener/first-byte.js';
import type { Listener } from '../listener/listener.js';
import { meshTlsServer, plaintextRefusal, type MeshListening } from '../listener/mesh-door.js';
import { networkList, plainAddress } from '../listener/network-list.js';
import { peerAddress } from '../listener/peer-address.js';
import { readProxyHeader, type OnBadHeader } from '../listener/proxy-protocol.js';
import type { ServerCredentials } from '../tls/server-credentials.js';
import { Handshakes, keepHalfOpen } from '../tls/handshakes.js';
import type { Party } from './proxy-header.js';
import { TcpConnection, type TcpContext } from './tcp-connection.js';

interface TcpListenerOptions {
  readonly config: TcpListenerConfig;
  readonly credentials?: ServerCredentials | undefined;
  /** Mutual TLS with the identity of the proxy, and plaintext beside it; excludes `credentials`. */
  readonly mesh?: MeshListening | undefined;
  readonly clock: Clock;
  /** Opens the other side of a connection; undefined while there is no upstream of that name. */
  readonly open: () => Service | undefined;
  readonly onRefusal?: OnRefusal | undefined;
  /** Hears of every connection that got this far. */
  readonly onOpen: (connection: TcpConnection) => void;
  /** Hears of every connection that is over, once. */
  readonly onOver: (connection: TcpConnection) => void;
  readonly onBadHeader?: OnBadHeader | undefined;
}

interface Late {
  deadline: number;
  onDeadline: () => void;
}

/**
 * Accepts connections on which anything may be spoken, and joins each to an endpoint of its upstream.
 *
 * A connection first passes the PROXY protocol, if its peer is one that sends it, and TLS, if there is any. It is accepted paused:
 * until an endpoint is there, what the client sends waits in the kernel.
 */
export class TcpListener implements Listener {
  readonly #server: Server;
  readonly #tls: TlsServer | undefined;
  readonly #sweep: DeadlineSweep;
  readonly #context: TcpContext;
  readonly #sendsProxyHeader: (address: string) => boolean;
  readonly #connections = new Set<TcpConnection>();
  /** Connections whose TLS handshake or PROXY header is still to come, and the deadlines of these. */
  readonly #arriving = new Map<Socket, Late>();
  /** What lies under TLS, and who the client is, by the peer's address and port, while the handshake goes on. */
  readonly #handshakes = new Handshakes<{ readonly raw: Socket; readonly client: Party }>();
  readonly #descriptors = descriptorLimit();
  #draining = false;
  readonly #drained: Promise<void>;
  #setDrained: () => void = ignore;

  constructor(private readonly options: TcpListenerOptions) {
    const { config, clock, credentials, mesh } = options;
    this.#drained = new Promise((resolve) => (this.#setDrained = resolve));
    const { idleTimeout, connectTimeout, handshakeTimeout } = config;
    this.#sweep = new DeadlineSweep(clock, [idleTimeout === 0 ? Infinity : idleTimeout, connectTimeout, handshakeTimeout]);
    this.#context = { config, clock, sweep: this.#sweep, open: options.open, onOver: (connection) => this.#over(connection) };
    this.#sendsProxyHeader = networkList(config.listen.proxyProtocol?.from ?? []);
    // What is spoken inside TLS is not for us to say.
    this.#tls = credentials && createTlsServer({ highWaterMark, ...credentials.options, ALPNProtocols: undefined, handshakeTimeout: maxHandshakeMs }, (socket) => this.#afterTls(socket, credentials));
    this.#tls?.on('tlsClientError', (_error, socket) => socket.destroy());
    if (credentials !== undefined) credentials.serve(this.#tls!);
    if (mesh !== undefined) {
      const tlsOptions = { highWaterMark, ALPNProtocols: undefined, handshakeTimeout: maxHandshakeMs };
      this.#tls = meshTlsServer(mesh, tlsOptions, (socket) => this.#handshakes.of(socket)?.client.address ?? '', (socket, peer) => this.#afterHandshake(socket, peer));
    }
    if (this.#tls !== undefined) keepHalfOpen(this.#tls);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, pauseOnConnect: true, highWaterMark }, (socket) => this.#afterTcp(socket));
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  listen(): Promise<AddressInfo> {
    return bind(this.#server, this.options.config.listen, this.options.onRefusal);
  }

  /** Stops accepting, and resolves when the last connection has ended by itself: nothing tells its two sides that they should. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#server.listening) this.#server.close();
    this.#checkDrained();
    return this.#drained;
  }

  async close(): Promise<void> {
    const drained = this.drain();
    for (const connection of this.#connections) connection.end('shut_down');
    for (const socket of this.#arriving.keys()) socket.destroy();
    await drained;
    this.#sweep.close();
  }

  #afterTcp(socket: Socket): void {
    socket.on('error', ignore);
    const address = peerAddress(socket);
    if (address === undefined) {
      socket.destroy();
      return;
    }
    const client = { address, port: socket.remotePort ?? 0 };
    // Not even for an endpoint's side of it.
    if (hasLastDescriptor(socket, this.#descriptors)) {
      socket.destroy();
      this.options.onRefusal?.('descriptors', client.address);
      return;
    }
    if (this.#size >= this.options.config.maxConnections) {
      // Whatever it has still to pass: it is turned away, and logged, as itself.
      this.#accept(socket, socket, client);
      return;
    }
    if (!this.#sendsProxyHeader(client.address)) {
      this.#afterProxyHeader(socket, client);
      return;
    }
    const late = this.#expect(socket);
    const { onDeadline } = late;
    late.onDeadline = readProxyHeader(socket, address, this.options.onBadHeader, (source, port = 0) => {
      late.onDeadline = onDeadline;
      this.#afterProxyHeader(socket, source === undefined ? client : { address: plainAddress(source), port });
    });
    socket.resume();
  }

  #afterProxyHeader(raw: Socket, client: Party): void {
    if (this.options.mesh !== undefined) this.#await(raw, client, this.options.mesh);
    else if (this.#tls === undefined) this.#accept(raw, raw, client);
    else this.#shakeHands(raw, client, this.#tls);
  }

  /**
   * In the mesh: what is spoken is up to the client. Where plaintext is taken, one that says nothing for a while is taken to speak
   * it: there are protocols in which the server speaks first.
   */
  #await(raw: Socket, client: Party, mesh: MeshListening): void {
    const late = this.#expect(raw);
    const isStrict = mesh.mode() === 'strict';
    const handshakeEnds = late.deadline;
    const plaintext = (): void => {
      if (!isStrict) {
        this.#accept(raw, raw, client);
        return;
      }
      mesh.onRefusal(client.address, plaintextRefusal);
      raw.destroy();
    };
    const giveUp = awaitFirstByte(raw, (isTls) => {
      late.deadline = handshakeEnds;
      late.onDeadline = () => raw.destroy();
      if (isTls) this.#shakeHands(raw, client, this.#tls!);
      else plaintext();
    });
    if (!isStrict) {
      late.deadline = Math.min(handshakeEnds, this.options.clock.now() + silenceMs);
      late.onDeadline = () => {
        giveUp();
        plaintext();
      };
    }
  }

  #shakeHands(raw: Socket, client: Party, tls: TlsServer): void {
    this.#expect(raw);
    this.#handshakes.begin(tls, raw, { raw, client });
  }

  #afterTls(socket: TLSSocket, credentials: ServerCredentials): void {
    socket.on('error', ignore);
    const handshake = this.#handshakes.of(socket);
    if (handshake === undefined || credentials.refuses(socket)) socket.destroy();
    else this.#accept(socket, handshake.raw, handshake.client, credentials.peerOf(socket));
  }

  #afterHandshake(socket: TLSSocket, peer: Peer): void {
    const handshake = this.#handshakes.of(socket);
    if (handshake === undefined) socket.destroy();
    else this.#accept(socket, handshake.raw, handshake.client, peer);
  }

  #accept(socket: Socket, raw: Socket, client: Party, peer?: Peer): void {
    const connection = new TcpConnection({ socket, raw, client, peer }, this.#context);
    // Noted before the old entry goes: in between, a drain would see nothing.
    this.#connections.add(connection);
    this.#arrived(raw);
    this.options.onOpen(connection);
    if (this.#size > this.options.config.maxConnections) {
      this.options.onRefusal?.('maxConnections', client.address);
      connection.end('overloaded');
      return;
    }
    this.#sweep.add(connection);
    void connection.open();
    // It was accepted paused.
    socket.resume();
  }

  /** All connections, whatever they have still to pass. */
  get #size(): number {
    return this.#connections.size + this.#arriving.size;
  }

  #over(connection: TcpConnection): void {
    this.#connections.delete(connection);
    this.#sweep.delete(connection);
    this.options.onOver(connection);
    this.#checkDrained();
  }

  #expect(socket: Socket): Late {
    const expected = this.#arriving.get(socket);
    if (expected !== undefined) return expected;
    const late: Late = { deadline: this.options.clock.now() + this.options.config.handshakeTimeout, onDeadline: () => socket.destroy() };
    this.#arriving.set(socket, late);
    this.#sweep.add(late);
    socket.once('close', () => {
      this.#arrived(socket);
      this.#checkDrained();
    });
    return late;
  }

  #arrived(socket: Socket): void {
    const late = this.#arriving.get(socket);
    if (late === undefined) return;
    this.#arriving.delete(socket);
    this.#sweep.delete(late);
  }

  #checkDrained(): void {
    if (this.#draining && this.#connections.size === 0 && this.#arriving.size === 0) this.#setDrained();
  }
}

/** After so long a client that waits for the server to speak first is told from one that speaks TLS (ms). */
const silenceMs = 3_000;
/** Two reads: with one, every write would make its source wait. */
const highWaterMark = 131_072;
/** Node's own limit is not needed: ours covers the PROXY protocol too. */
const maxHandshakeMs = 2 ** 31 - 1;

/** Socket errors are followed by `close`, where they are dealt with. */
const ignore = (): void => {};
