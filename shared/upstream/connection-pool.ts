import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { Http2UpstreamConfig, UpstreamProtocol } from '../config/http2.js';
import { formatAddress, type Address } from '../config/units.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Cancellation } from '../http/cancellation.js';
import type { Exchange } from '../http/exchange.js';
import { tunnelEndOf, type TunnelEnd } from '../http/tunnel.js';
import { ReadBuffer, wordsOf } from '../http1/read-buffer.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { TlsSession } from '../tls/tls-session.js';
import { connectError } from './connect-error.js';
import { dial } from './dial.js';
import { endOfWait } from './end-of-wait.js';
import type { ConnectionGuard, EndpointPool } from './endpoint-pool.js';
import { Http1UpstreamConnection } from './http1-upstream-connection.js';

export interface PoolLimits {
  readonly connectTimeout: number;
  readonly idleTimeout: number;
  readonly bodyIdleTimeout: number;
  readonly maxConnections: number;
  readonly maxPending: number;
  readonly maxHeadBytes: number;
  readonly protocol: UpstreamProtocol;
  readonly http2: Http2UpstreamConfig;
}

export interface PoolDependencies {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  /** With these, TLS is spoken. */
  readonly credentials?: TlsClient | undefined;
  readonly isOwnAddress?: ((host: string, port: number) => boolean) | undefined;
}

interface Waiting {
  readonly cancellation: Cancellation;
  readonly resolve: (connection: Http1UpstreamConnection) => void;
  readonly reject: (reason: Error) => void;
}

/**
 * The connections to one endpoint.
 *
 * Last in, first out: the connection used most recently is the one least likely to have been closed by
 * the peer, and the ones that a quieter time does not need grow old and are closed. At `maxConnections`
 * requests wait in line, at most `maxPending` of them.
 */
export class ConnectionPool implements EndpointPool {
  readonly #idle: Http1UpstreamConnection[] = [];
  readonly #all = new Set<Http1UpstreamConnection>();
  readonly #waiting: Waiting[] = [];
  readonly name: string;
  readonly clock: Clock;
  guard: ConnectionGuard | undefined;
  onBrokenOff: ((exchange: Exchange) => void) | undefined;
  private readonly sweep: DeadlineSweep;
  readonly #credentials: TlsClient | undefined;
  readonly #session: TlsSession | undefined;
  readonly #isOwnAddress: ((host: string, port: number) => boolean) | undefined;
  #connecting = 0;
  /** Connections that no HTTP is spoken on. */
  #streams = 0;
  #closed = false;

  constructor(
    readonly address: Address,
    readonly limits: PoolLimits,
    { clock, sweep, credentials, isOwnAddress }: PoolDependencies,
  ) {
    this.name = formatAddress(address);
    this.clock = clock;
    this.sweep = sweep;
    sweep.expect([limits.connectTimeout, limits.idleTimeout, limits.bodyIdleTimeout]);
    this.#credentials = credentials;
    this.#session = credentials && new TlsSession(credentials, clock);
    this.#isOwnAddress = isOwnAddress;
  }

  /** Connections that carry an exchange now. */
  get active(): number {
    return this.#all.size - this.#idle.length + this.#streams;
  }

  get size(): number {
    return this.#all.size + this.#streams;
  }

  get connections(): number {
    return this.#all.size + this.#connecting + this.#streams;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get hasIdle(): boolean {
    return this.#idle.length > 0;
  }

  get pending(): number {
    return this.#waiting.length + this.#connecting;
  }

  /** An idle connection, or undefined. */
  takeIdle(): Http1UpstreamConnection | undefined {
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.isUsable) return connection;
      connection.close();
    }
    return undefined;
  }

  /** A new connection, or the next one that becomes free when there may be no more and the request `mayWait`. */
  acquire(cancellation: Cancellation, mayWait = true): Promise<Http1UpstreamConnection> {
    if (cancellation.reason !== undefined) return Promise.reject(cancellation.reason);
    if (this.#hasRoom) return this.#connect(cancellation);
    if (!mayWait || this.#waiting.length >= this.limits.maxPending) return Promise.reject(new ProxyError('upstream_queue_full'));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        cancellation,
        resolve: (connection) => {
          unsubscribe();
          resolve(connection);
        },
        reject,
      };
      this.#waiting.push(waiting);
      const unsubscribe = cancellation.onCancel((reason) => {
        const index = this.#waiting.indexOf(waiting);
        if (index !== -1) this.#waiting.splice(index, 1);
        reject(index === -1 ? reason : endOfWait(reason));
      });
    });
  }

  /**
   * Opens a connection that is used by itself and never given back. It counts as one that carries an exchange until it is closed; at
   * `maxConnections` it is refused, since connections like it may last for hours.
   */
  async openStream(preamble: Buffer | undefined, cancellation: Cancellation): Promise<TunnelEnd> {
    if (!this.#hasRoom && !this.closeOldestIdle()) throw new ProxyError('upstream_queue_full');
    this.#connecting++;
    try {
      const { clock, sweep, address, limits } = this;
      const { socket, breakOff } = await dial(address, { clock, sweep, connectTimeoutMs: limits.connectTimeout, credentials: this.#credentials, preamble, cancellation, isOwnAddress: this.#isOwnAddress });
      this.#streams++;
      socket.once('close', () => {
        this.#streams--;
        this.#freed();
      });
      return tunnelEndOf(socket, breakOff);
    } finally {
      this.#connecting--;
      this.#freed();
    }
  }

  giveBack(connection: Http1UpstreamConnection, now: number): void {
    if (this.#closed) {
      connection.close();
      return;
    }
    const next = this.#nextWaiting();
    if (next !== undefined) {
      next.resolve(connection);
      return;
    }
    connection.deadline = now + this.limits.idleTimeout;
    this.#idle.push(connection);
    this.guard?.freed();
  }

  remove(connection: Http1UpstreamConnection): void {
    this.#all.delete(connection);
    this.sweep.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
    this.#freed();
  }

  /** A place became free: whoever waits longest gets a connection of their own. */
  serveWaiting(): void {
    const next = this.#hasRoom ? this.#nextWaiting() : undefined;
    if (next === undefined) return;
    const { resolve, reject, cancellation } = next;
    this.#connect(cancellation).then((connection) => {
      // One whose request has left in this moment would be in use for ever.
      if (cancellation.isCancelled) this.giveBack(connection, this.clock.now());
      else resolve(connection);
    }, reject);
  }

  /** Takes out of the line who has waited longest. Of those that are being cancelled nobody was told yet, perhaps: they leave by themselves. */
  #nextWaiting(): Waiting | undefined {
    if (this.#waiting.length === 0) return undefined;
    const index = this.#waiting.findIndex(({ cancellation }) => !cancellation.isCancelled);
    return index === -1 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  closeOldestIdle(): boolean {
    const connection = this.#idle.shift();
    connection?.close();
    return connection !== undefined;
  }

  /** Takes over a connection that was made elsewhere, where its protocol was still to be found out. */
  adopt(socket: Socket): Http1UpstreamConnection {
    const connection = new Http1UpstreamConnection(socket, this);
    socket.on('data', (data) => connection.receive(data, wordsOf(data)));
    this.#all.add(connection);
    this.sweep.add(connection);
    return connection;
  }

  /** Closes idle connections now and the others when their exchange is over. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  /** Closes every connection, whatever it carries. */
  destroy(): void {
    this.close();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new ProxyError('upstream_reset'));
    for (const connection of [...this.#all]) connection.close();
  }

  get #hasRoom(): boolean {
    return this.#all.size + this.#connecting + this.#streams < this.limits.maxConnections;
  }

  #freed(): void {
    this.serveWaiting();
    this.guard?.freed();
  }

  #connect(cancellation: Cancellation): Promise<Http1UpstreamConnection> {
    this.#connecting++;
    return new Promise((resolve, reject) => {
      let connection: Http1UpstreamConnection | undefined;
      const socket = this.#open((data, words) => connection?.receive(data, words));
      const attempt = {
        deadline: this.clock.now() + this.limits.connectTimeout,
        onDeadline: () => fail(new ProxyError('upstream_connect_failed', { cause: new Error('the connection took too long') })),
      };
      let isOver = false;
      let unsubscribe = (): void => {};
      const settle = (): void => {
        isOver = true;
        this.#connecting--;
        this.sweep.delete(attempt);
        unsubscribe();
        socket.removeAllListeners('error');
        socket.removeAllListeners(this.#readyEvent);
      };
      const fail = (reason: Error): void => {
        if (isOver) return;
        settle();
        socket.on('error', () => {});
        socket.destroy();
        reject(reason);
        this.#freed();
      };
      // What fails once there is a connection is TLS: an unknown authority, another name, no protocol in common.
      let code: ErrorCode = 'upstream_connect_failed';
      if (this.#credentials !== undefined) socket.once('connect', () => (code = 'upstream_tls_failed'));
      socket.once('error', (error) => fail(connectError(code, error)));
      socket.once(this.#readyEvent, () => {
        settle();
        connection = new Http1UpstreamConnection(socket, this);
        this.#all.add(connection);
        this.sweep.add(connection);
        resolve(connection);
      });
      this.sweep.add(attempt);
      // At once, if it is cancelled already.
      unsubscribe = cancellation.onCancel(fail);
    });
  }

  get #readyEvent(): 'connect' | 'secureConnect' {
    return this.#credentials === undefined ? 'connect' : 'secureConnect';
  }

  #open(receive: (data: Buffer, words: DataView) => void): Socket {
    const { host, port, path } = this.address;
    const options = {
      ...(path === undefined ? { host, port, autoSelectFamily: true } : { path }),
      noDelay: true,
      keepAlive: true,
      allowHalfOpen: true,
      onread: {
        buffer: reads.memory,
        callback: (length: number) => {
          receive(reads.view(length), reads.words);
          return true;
        },
      },
    };
    return this.#session === undefined ? connectTcp(options as NetConnectOpts) : this.#session.connect(options, host);
  }
}

const reads = new ReadBuffer();
