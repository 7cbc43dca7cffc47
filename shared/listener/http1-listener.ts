import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import { DeadlineSweep, type Sweepable } from '../clock/deadline-sweep.js';
import type { LimitsConfig } from '../config/sections.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Peer } from '../http/exchange.js';
import type { Service } from '../http/service.js';
import { DateField } from '../http1/date-field.js';
import type { ServerCredentials } from '../tls/server-credentials.js';
import { Handshakes, keepHalfOpen } from '../tls/handshakes.js';
import type { Http2Engine } from '../config/http2.js';
import { bind, type BindAddress } from './bind.js';
import type { Connection } from './connection.js';
import { ConnectionLimits, type OnRefusal } from './connection-limits.js';
import type { DrainOptions } from './listener.js';
import { Glances } from './http1/glances.js';
import { Http1Connection } from './http1/http1-connection.js';
import { awaitFirstByte } from './first-byte.js';
import type { Http2 } from './http2/http2.js';
import { meshTlsServer, plaintextRefusal, type MeshListening } from './mesh-door.js';
import { networkList, plainAddress } from './network-list.js';
import { peerAddress } from './peer-address.js';
import { readProxyHeader, type OnBadHeader } from './proxy-protocol.js';

export interface ListenerOptions {
  /** Name in logs and metrics: `edge`, `inbound`, `outbound`. */
  readonly name: string;
  readonly listen: ListenAddress;
  readonly credentials?: ServerCredentials | undefined;
  /** Mutual TLS with the identity of the proxy, and plaintext beside it; excludes `credentials`. */
  readonly mesh?: MeshListening | undefined;
  readonly limits: LimitsConfig;
  readonly clock: Clock;
  /** The stack that answers every request, refused ones excepted. Looked up per request, so that it can be exchanged. */
  readonly service: Service;
  /** Answers a request that could not even be parsed; the log and the metrics see it through this. */
  readonly refuse: Service;
  readonly onConnection?: ((delta: 1 | -1) => void) | undefined;
  readonly onRefusal?: OnRefusal | undefined;
  readonly onBadHeader?: OnBadHeader | undefined;
  /** Hears of connections of HTTP/2 that were closed because their client asked for more than anybody needs. */
  readonly onFlood?: ((reason: 'resets' | 'control_frames', clientAddress: string) => void) | undefined;
  /** Speaks HTTP/2 where a client wants it; loaded only where it is asked for. */
  readonly http2?: Http2 | undefined;
}

/** A port, of which 0 takes a free one, or the path of a Unix domain socket. */
export interface ListenAddress extends BindAddress {
  /** HTTP/2 beside HTTP/1.1, and who speaks it. */
  readonly http2?: Http2Engine | false;
  readonly proxyProtocol?: { readonly from: readonly string[] } | undefined;
}

/**
 * Accepts connections of HTTP/1.x, and of HTTP/2 where it is asked for, and hands their requests to the stack.
 *
 * On its way a connection passes the PROXY protocol, if its peer is one that sends it, and TLS, if there is any; a
 * connection that gets stuck there is closed after `headTimeout`. In the mesh its first byte says whether it speaks TLS.
 */
export class Http1Listener {
  readonly options: ListenerOptions;
  readonly sweep: DeadlineSweep;
  readonly date: DateField;
  readonly glances = new Glances();
  readonly #server: Server;
  /** Gets connections from the one that listens. */
  readonly #tls: TlsServer | undefined;
  readonly #sendsProxyHeader: (address: string) => boolean;
  readonly #connections = new Set<Connection>();
  readonly #limits: ConnectionLimits;
  /** Connections that had something to pass before their first request: what closes one of them closes these. */
  readonly #arriving = new Set<Socket>();
  /** Whose the connections are whose TLS handshake is going on, from which their requests come. */
  readonly #handshakes = new Handshakes<string>();
  #draining = false;
  #isEnding = false;
  readonly #drained: Promise<void>;
  #setDrained: () => void = ignore;

  constructor(options: ListenerOptions) {
    this.options = options;
    this.#drained = new Promise((resolve) => (this.#setDrained = resolve));
    const { limits, clock, credentials, mesh, listen, onRefusal } = options;
    this.#limits = new ConnectionLimits(limits, onRefusal);
    this.date = new DateField(clock);
    this.sweep = new DeadlineSweep(clock, [limits.headTimeout, limits.bodyIdleTimeout, limits.idleTimeout, limits.writeTimeout, limits.tunnelIdleTimeout]);
    this.#sendsProxyHeader = networkList(listen.proxyProtocol?.from ?? []);
    // Half-open, so that a client's FIN is ours to interpret; see Http1Connection.
    const common = { noDelay: true, highWaterMark: 65_536 };
    this.#tls = credentials && createTlsServer({ ...common, ...credentials.options, ...options.http2?.alpn, handshakeTimeout: limits.headTimeout }, (socket) => this.#afterTls(socket, credentials));
    this.#tls?.on('tlsClientError', (_error, socket) => socket.destroy());
    if (mesh !== undefined) {
      const tlsOptions = { ...common, ...options.http2?.alpn, handshakeTimeout: limits.headTimeout };
      this.#tls = meshTlsServer(mesh, tlsOptions, (socket) => this.#handshakes.of(socket) ?? '', (socket, peer) => this.#afterHandshake(socket, peer));
    }
    if (this.#tls !== undefined) keepHalfOpen(this.#tls);
    this.#tls?.on('connection', (socket: Socket) => this.#expect(socket));
    if (credentials !== undefined) credentials.serve(this.#tls!);
    this.#server = createServer({ ...common, allowHalfOpen: true }, (socket) => this.#afterTcp(socket));
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  /** Nothing takes its place: connections end with the exchanges that they carry. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Starts to listen; rejects when the address cannot be taken. Resolves with the address taken. */
  listen(): Promise<AddressInfo> {
    return bind(this.#server, this.options.listen, this.options.onRefusal);
  }

  /**
   * Stops accepting, lets exchanges in flight finish and their answers say `Connection: close`. Where it is replaced, connections
   * that wait for their next request may wait on: whoever sends one at this moment would lose it.
   */
  drain({ isReplaced = false }: DrainOptions = {}): Promise<void> {
    this.#draining = true;
    this.#isEnding ||= !isReplaced;
    if (this.#server.listening) this.#server.close();
    this.#endSilent();
    for (const connection of this.#connections) {
      if (isReplaced) connection.goAway?.();
      else connection.closeIfIdle();
    }
    this.#checkDrained();
    return this.#drained;
  }

  /** Breaks off whatever is left. */
  async close(): Promise<void> {
    const drained = this.drain();
    for (const connection of this.#connections) connection.destroy();
    for (const socket of this.#arriving) socket.destroy();
    await drained;
    this.sweep.close();
  }

  /** Plaintext is refused from now on: connections that speak it end, each with the exchange that it carries. */
  endPlaintext(): void {
    for (const connection of this.#connections) if (connection.peer === undefined) connection.retire();
  }

  /** Connections with something to pass are waited for, but not for ever for a first byte. */
  #endSilent(): void {
    const ends = {
      deadline: this.options.clock.now() + silentGraceMs,
      onDeadline: () => {
        this.sweep.delete(ends);
        for (const socket of this.#arriving) if (socket.bytesRead === 0) socket.destroy();
      },
    };
    this.sweep.add(ends);
  }

  /** A connection whose TLS handshake or PROXY header is still to come is not cut off by a drain. */
  #expect(socket: Socket): void {
    if (this.#arriving.has(socket)) return;
    this.#arriving.add(socket);
    socket.once('close', () => {
      this.#arriving.delete(socket);
      this.#checkDrained();
    });
  }

  #afterTcp(socket: Socket): void {
    const peer = peerAddress(socket);
    if (peer === undefined) {
      socket.destroy();
      return;
    }
    if (!this.#limits.takes(peer, socket)) return;
    if (!this.#sendsProxyHeader(peer)) {
      this.#afterProxyHeader(socket, peer);
      return;
    }
    this.#expect(socket);
    const late = this.#limit(socket);
    late.onDeadline = readProxyHeader(socket, peer, this.options.onBadHeader, (source) => {
      this.sweep.delete(late);
      this.#afterProxyHeader(socket, source === undefined ? peer : plainAddress(source));
    });
  }

  /** Closes a connection that gets stuck on its way, unless the limit is taken from the sweep. */
  #limit(socket: Socket): Sweepable {
    socket.on('error', ignore);
    const late = { deadline: this.options.clock.now() + this.options.limits.headTimeout, onDeadline: () => socket.destroy() };
    this.sweep.add(late);
    socket.once('close', () => this.sweep.delete(late));
    return late;
  }

  #afterProxyHeader(socket: Socket, client: string): void {
    if (!this.#limits.takesFrom(client, socket)) return;
    if (this.options.mesh !== undefined) this.#await(socket, client, this.options.mesh);
    else if (this.#tls === undefined) this.#accept(socket, client);
    else this.#handshakes.begin(this.#tls, socket, client);
  }

  /** In the mesh: what is spoken is up to the caller, and what is done about it to the mode. */
  #await(socket: Socket, client: string, mesh: MeshListening): void {
    this.#expect(socket);
    const late = this.#limit(socket);
    awaitFirstByte(socket, (isTls) => {
      this.sweep.delete(late);
      if (isTls) {
        this.#handshakes.begin(this.#tls!, socket, client);
        return;
      }
      const isRefused = mesh.mode() === 'strict';
      if (isRefused) mesh.onRefusal(client, plaintextRefusal);
      this.#accept(socket, client, undefined, isRefused ? new ProxyError('mtls_required') : undefined);
    });
  }

  #afterTls(socket: TLSSocket, credentials: ServerCredentials): void {
    socket.on('error', ignore);
    if (credentials.refuses(socket)) socket.destroy();
    else this.#afterHandshake(socket, credentials.peerOf(socket));
  }

  #afterHandshake(socket: TLSSocket, peer: Peer | undefined): void {
    const client = this.#handshakes.of(socket);
    if (client === undefined) socket.destroy();
    else this.#accept(socket, client, peer);
  }

  /** `peer`: whom the client has proven to be, by mutual TLS. `refusal`: what it is told, instead of being served. */
  #accept(socket: Socket, client: string, peer?: Peer, refusal?: ProxyError): void {
    const { onConnection, http2 } = this.options;
    socket.on('error', ignore);
    let connection = this.#watch(
      http2 === undefined || refusal !== undefined
        ? new Http1Connection(socket, client, this, peer)
        : http2.accept(socket, client, this, peer, (decided) => {
            this.#unwatch(connection);
            connection = this.#watch(decided);
          }),
    );
    onConnection?.(1);
    socket.once('close', () => {
      this.#unwatch(connection);
      onConnection?.(-1);
      this.#checkDrained();
    });
    if (refusal !== undefined) connection.refuse?.(refusal);
    // It was paused while the PROXY protocol's header, or its first byte, was read.
    if (socket.isPaused()) socket.resume();
  }

  #watch(connection: Connection): Connection {
    this.#connections.add(connection);
    this.sweep.add(connection);
    return connection;
  }

  #unwatch(connection: Connection): void {
    this.#connections.delete(connection);
    this.sweep.delete(connection);
  }

  #checkDrained(): void {
    if (this.#draining && this.#connections.size === 0 && this.#arriving.size === 0) this.#setDrained();
  }
}

/** How long a connection that was made just before a drain may take to say its first byte, where TLS or the PROXY protocol come before HTTP (ms). */
const silentGraceMs = 1_000;

/** Socket errors are followed by `close`, where they are dealt with. */
const ignore = (): void => {};

/**
 * How long a client that sent FIN after its request may still wait for the answer. A FIN may mean
 * "no more requests" (`nc -N`) or "gone": the wire does not say. Answers that are about to come are
 * delivered; after this time the client counts as gone and its upstream attempt is cancelled.
 */
export const halfCloseGraceMs = 20;
