import type { Socket } from 'node:net';
import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { Http2UpstreamConfig, UpstreamProtocol } from '../config/http2.js';
import { formatAddress, type Address } from '../config/units.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Cancellation } from '../http/cancellation.js';
import type { Exchange } from '../http/exchange.js';
import { tunnelEndOf, type TunnelEnd } from '../http/tunnel.js';
import { ReadBuffer, wordsOf } from '../http1/read-buffer.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { DialPause } from './dial-pause.js';
import { dialStream } from './dial-stream.js';
import { Dialer } from './dialer.js';
import { endOfWait } from './end-of-wait.js';
import type { ConnectionGuard, EndpointPool } from './endpoint-pool.js';
import { Http1UpstreamConnection } from './http1-upstream-connection.js';

export interface PoolLimits {
  readonly connectTimeout: number;
  readonly idleTimeout: number;
  readonly maxIdleTimeout: number;
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
  readonly isLoop?: ((host: string, port: number) => boolean) | undefined;
}

interface Waiting {
  readonly cancellation: Cancellation;
  readonly take: (connection: Http1UpstreamConnection) => void;
  readonly fail: (reason: Error) => void;
}

/**
 * The connections to one endpoint.
 *
 * Last in, first out: the connection used most recently is the one least likely to have been closed by
 * the peer, and the ones that a quieter time does not need grow old and are closed. A request that finds none
 * waits, and one is made for it; it goes out on whichever is there first, that one or one that others have done with, and
 * what is made for it then stays for the next. At `maxConnections` requests wait in line, at most `maxPending` of them.
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
  readonly #isOwnAddress: ((host: string, port: number) => boolean) | undefined;
  readonly #dialer: Dialer;
  /** What gives up each connection that is being made, the oldest first. As many of those who wait, from the first on, count on them. */
  readonly #dials = new Set<() => void>();
  readonly #pause: DialPause;
  /** Connections that no HTTP is spoken on, and those of them that are being made. */
  #streams = 0;
  #openingStreams = 0;
  #closed = false;

  constructor(
    readonly address: Address,
    readonly limits: PoolLimits,
    { clock, sweep, credentials, isOwnAddress, isLoop }: PoolDependencies,
  ) {
    this.name = formatAddress(address);
    this.clock = clock;
    this.sweep = sweep;
    sweep.expect([limits.connectTimeout, limits.idleTimeout, limits.bodyIdleTimeout]);
    this.#credentials = credentials;
    this.#isOwnAddress = isOwnAddress;
    this.#dialer = new Dialer(address, limits.connectTimeout, { clock, sweep, credentials, isLoop });
    this.#pause = new DialPause(clock, () => this.serveWaiting());
  }

  /** Connections that carry an exchange now. */
  get active(): number {
    return this.#all.size - this.#idle.length + this.#streams;
  }

  get size(): number {
    return this.#all.size + this.#streams;
  }

  get connections(): number {
    return this.#all.size + this.#dials.size + this.#streams + this.#openingStreams;
  }

  get queued(): number {
    return Math.max(0, this.#waiting.length - this.#dials.size);
  }

  get hasIdle(): boolean {
    return this.#idle.length > 0 || this.#waiting.length < this.#dials.size;
  }

  get pending(): number {
    return this.#waiting.length + this.#openingStreams;
  }

  /** An idle connection, or undefined. */
  takeIdle(): Http1UpstreamConnection | undefined {
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.isUsable) return connection;
      connection.close();
    }
    return undefined;
  }

  /** A connection that becomes free or is made; at `maxConnections`, none is made and the request waits in line, if it `mayWait`. */
  acquire(cancellation: Cancellation, mayWait = true): Promise<Http1UpstreamConnection> {
    if (cancellation.reason !== undefined) return Promise.reject(cancellation.reason);
    const isExpected = this.#waiting.length < this.#dials.size || this.#hasRoom;
    if (!isExpected && (!mayWait || this.queued >= this.limits.maxPending)) return Promise.reject(new ProxyError('upstream_queue_full'));
    return new Promise((resolve, reject) => {
      if (this.#waiting.length >= this.#dials.size && this.#hasRoom) this.#dial();
      const waiting: Waiting = {
        cancellation,
        take: (connection) => {
          unsubscribe();
          resolve(connection);
        },
        fail: (reason) => {
          unsubscribe();
          reject(reason);
        },
      };
      const unsubscribe = cancellation.onCancel((reason) => reject(this.#left(waiting, reason)));
      this.#waiting.push(waiting);
    });
  }

  /**
   * Opens a connection that is used by itself and never given back. It counts as one that carries an exchange until it is closed; at
   * `maxConnections` it is refused, since connections like it may last for hours.
   */
  async openStream(preamble: Buffer | undefined, cancellation: Cancellation): Promise<TunnelEnd> {
    if (!this.#hasRoom && !this.closeOldestIdle()) throw new ProxyError('upstream_queue_full');
    this.#openingStreams++;
    try {
      const { clock, sweep, address, limits } = this;
      const { socket, breakOff } = await dialStream(address, { clock, sweep, connectTimeoutMs: limits.connectTimeout, credentials: this.#credentials, preamble, cancellation, isOwnAddress: this.#isOwnAddress });
      this.#streams++;
      socket.once('close', () => {
        this.#streams--;
        this.#freed();
      });
      return tunnelEndOf(socket, breakOff);
    } finally {
      this.#openingStreams--;
      this.#freed();
    }
  }

  giveBack(connection: Http1UpstreamConnection, now: number): void {
    const next = this.#nextWaiting();
    if (next !== undefined) {
      next.take(connection);
      return;
    }
    if (this.#closed) {
      connection.close();
      return;
    }
    connection.deadline = now + connection.idleTimeout;
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

  /** Makes connections for those who wait in line, as far as there may be more. */
  serveWaiting(): void {
    while (this.queued > 0 && this.#hasRoom && !this.#holdsBack && (this.guard?.mayConnect() ?? true)) this.#dial();
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
    return connection !== undefined || this.#giveUpUnneeded();
  }

  /** Takes over a connection that was made elsewhere, where its protocol was still to be found out. */
  adopt(socket: Socket): void {
    const connection = this.#add(socket);
    socket.on('data', (data) => connection.receive(data, wordsOf(data)));
    this.giveBack(connection, this.clock.now());
  }

  /** Closes idle connections now and the others when their exchange is over. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  /** Closes every connection, whatever it carries. */
  destroy(): void {
    this.close();
    this.#pause.end();
    for (const waiting of this.#waiting.splice(0)) waiting.fail(new ProxyError('upstream_reset'));
    for (const giveUp of this.#dials) giveUp();
    this.#dials.clear();
    for (const connection of [...this.#all]) connection.close();
  }

  get #hasRoom(): boolean {
    return this.connections < this.limits.maxConnections;
  }

  /** Connections to the endpoint work, and the last that was to be made could not be. */
  get #holdsBack(): boolean {
    return this.#all.size > 0 && (this.#pause.isOn || (this.#pause.isCareful && this.#dials.size > 0));
  }

  #freed(): void {
    this.serveWaiting();
    this.guard?.freed();
  }

  /** Takes a request out that is cancelled. Returns what became of it. */
  #left(waiting: Waiting, reason: Error): Error {
    const index = this.#waiting.indexOf(waiting);
    if (index === -1) return reason;
    const isInLine = index >= this.#dials.size;
    this.#waiting.splice(index, 1);
    if (!isInLine) this.#giveUpUnneeded();
    return isInLine ? endOfWait(reason) : reason;
  }

  /** Gives up the connection that was begun last, if nobody counts on it. Those before it are nearer to their end, and others wait for that. */
  #giveUpUnneeded(): boolean {
    const newest = [...this.#dials].at(-1);
    if (newest === undefined || this.#waiting.length >= this.#dials.size) return false;
    newest();
    this.#dials.delete(newest);
    this.#freed();
    return true;
  }

  #dial(): void {
    let connection: Http1UpstreamConnection | undefined;
    const onread = {
      buffer: reads.memory,
      callback: (length: number) => {
        connection?.receive(reads.view(length), reads.words);
        return true;
      },
    };
    const giveUp = this.#dialer.dial({ onread, allowHalfOpen: true }, {
      ready: (socket) => {
        this.#dials.delete(giveUp);
        this.#pause.end();
        connection = this.#add(socket);
        this.giveBack(connection, this.clock.now());
        // Who was held back need not be any more.
        this.serveWaiting();
      },
      failed: (reason) => {
        this.#dials.delete(giveUp);
        this.#failed(reason);
      },
    });
    this.#dials.add(giveUp);
  }

  #add(socket: Socket): Http1UpstreamConnection {
    const connection = new Http1UpstreamConnection(socket, this);
    this.#all.add(connection);
    this.sweep.add(connection);
    return connection;
  }

  /** Whoever has waited longest fails with it: a retry may find another endpoint better. Those in line may wait for what works. */
  #failed(reason: Error): void {
    if (this.queued > 0) this.#nextWaiting()?.fail(reason);
    if (this.queued > 0 && this.#all.size > 0) this.#pause.begin();
    this.#freed();
  }
}

const reads = new ReadBuffer();
