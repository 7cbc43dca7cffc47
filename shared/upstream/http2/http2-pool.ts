import type { Socket } from 'node:net';
import type { Clock } from '../../clock/clock.js';
import type { DeadlineSweep } from '../../clock/deadline-sweep.js';
import { authorityOf, formatAddress, type Address } from '../../config/units.js';
import { ProxyError, toProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { ReplayableBody } from '../../http/replayable-body.js';
import type { Service } from '../../http/service.js';
import type { PoolDependencies, PoolLimits } from '../connection-pool.js';
import { DialPause } from '../dial-pause.js';
import { Dialer } from '../dialer.js';
import { endOfWait } from '../end-of-wait.js';
import type { ConnectionGuard, SendingPool } from '../endpoint-pool.js';
import { isKeepAliveRace } from '../keep-alive-race.js';
import { ClosedUnanswered } from './http2-attempt.js';
import { Http2UpstreamSession } from './http2-session.js';

/** How much of a request's body (bytes) is kept to send it once more, until its answer begins: what an endpoint takes before it has said a word, its first window (RFC 9113 section 6.9.2). */
const keptBodyBytes = 65_535;

interface Waiting {
  readonly send: (session: Http2UpstreamSession) => void;
  readonly fail: (reason: Error) => void;
}

/**
 * The sessions to one endpoint.
 *
 * A request takes the first session that has room, so that in quieter times the later ones become idle and are closed. When none has,
 * it waits, and as many sessions are opened as the waiting need, up to `maxConnections`. While a connection cannot be made, or opens
 * without room for a single stream, they are made one at a time and at growing distances; who waits may still go out on a session that
 * gets room. A request that the endpoint refused unprocessed is sent once more, on another session if that one goes away: that is nobody's
 * failure. So is one that may be repeated, where the endpoint closed a session that had answered before, as an idle connection is closed.
 */
export class Http2Pool implements SendingPool {
  readonly name: string;
  readonly authority: string;
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  guard: ConnectionGuard | undefined;
  onBrokenOff: ((exchange: Exchange) => void) | undefined;
  readonly #dialer: Dialer;
  readonly #sessions = new Set<Http2UpstreamSession>();
  /** Those that have left and carry nothing: they count no more, and only wait for the endpoint to close. */
  readonly #ending = new Set<Http2UpstreamSession>();
  readonly #waiting: Waiting[] = [];
  #opening = 0;
  /** What a session is expected to carry: what the last one might. */
  #places: number;
  readonly #pause: DialPause;
  #closed = false;

  constructor(
    address: Address,
    readonly limits: PoolLimits,
    dependencies: PoolDependencies,
    dialer = new Dialer(address, limits.connectTimeout, dependencies),
  ) {
    this.name = formatAddress(address);
    this.authority = authorityOf(address);
    this.clock = dependencies.clock;
    this.sweep = dependencies.sweep;
    const { pingInterval, pingTimeout } = limits.http2;
    this.sweep.expect([limits.connectTimeout, limits.idleTimeout, limits.bodyIdleTimeout, ...(pingInterval === 0 ? [] : [pingInterval, pingTimeout])]);
    this.#dialer = dialer;
    this.#pause = new DialPause(this.clock, () => this.freed());
    this.#places = limits.http2.maxConcurrentStreams;
  }

  get isSecure(): boolean {
    return this.#dialer.isSecure;
  }

  get active(): number {
    let streams = 0;
    for (const session of this.#sessions) streams += session.streams;
    return streams;
  }

  get pending(): number {
    return this.#waiting.length;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get connections(): number {
    return this.#sessions.size + this.#opening;
  }

  /** Whether a session takes requests, or one is being opened that requests wait for. */
  get isInUse(): boolean {
    return this.#opening > 0 || this.#waiting.length > 0 || this.#hasOpen;
  }

  get queued(): number {
    return Math.max(0, this.#waiting.length - this.#expected);
  }

  get hasIdle(): boolean {
    return this.#free() !== undefined || this.#waiting.length < this.#expected;
  }

  /** Whether one more connection may be made now, for what one that takes no more requests leaves to others. */
  get mayReplace(): boolean {
    return this.#mayOpen && (this.guard?.mayConnect() ?? true);
  }

  closeOldestIdle(): boolean {
    for (const session of this.#sessions) {
      if (!session.isIdle) continue;
      session.close();
      return true;
    }
    return false;
  }

  readonly send: Service = (request, exchange) => {
    if (request.body.whole === undefined) return this.#sendStreamed(request, exchange);
    return this.#sendOnce(request, exchange).catch((error: unknown) => {
      if (!mayGoOutAgain(error, request)) throw error;
      return this.#sendOnce(request, exchange);
    });
  };

  /** Takes over a connection of which HTTP/2 was chosen elsewhere. */
  adopt(socket: Socket): void {
    this.#opening++;
    this.#open(socket);
  }

  /** A session is gone, or has room again. */
  freed(): void {
    this.serveWaiting();
    this.guard?.freed();
  }

  /** Sends what waits, as far as there is room, and sees to it that there will be more. */
  serveWaiting(): void {
    while (this.#waiting.length > 0) {
      const session = this.#free();
      if (session === undefined) break;
      this.#waiting.shift()!.send(session);
    }
    while (this.#waiting.length > this.#expected && this.mayReplace) this.#connect();
  }

  /** A session has left, and its last stream is over. */
  retire(session: Http2UpstreamSession): void {
    if (!this.#sessions.delete(session)) return;
    this.#ending.add(session);
    this.freed();
  }

  remove(session: Http2UpstreamSession): void {
    this.sweep.delete(session);
    this.#ending.delete(session);
    if (this.#sessions.delete(session)) this.freed();
  }

  close(): void {
    this.#closed = true;
    for (const session of this.#sessions) session.close();
  }

  destroy(): void {
    this.close();
    this.#pause.end();
    for (const { fail } of this.#waiting.splice(0)) fail(new ProxyError('upstream_reset'));
    for (const session of [...this.#sessions, ...this.#ending]) session.destroy();
  }

  /** Keeps the beginning of the body until the answer begins. A longer one is sent once, unless nothing of it was asked for. */
  #sendStreamed(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    const body = new ReplayableBody(request.body, keptBodyBytes);
    return this.#sendOnce({ ...request, body: body.forAttempt() }, exchange).then(
      (response) => {
        body.release();
        return response;
      },
      (error: unknown) => {
        if (!body.canReplay || !mayGoOutAgain(error, request)) throw error;
        body.detach();
        return this.#sendOnce({ ...request, body: body.forAttempt() }, exchange);
      },
    );
  }

  #sendOnce(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    const session = this.#free();
    if (session !== undefined) return session.send(request, exchange);
    // What a connection that is being opened will carry waits for it, but not in line.
    const opening = this.#opening + (this.#mayOpen ? 1 : 0);
    const maxPending = request.isHedge === true ? 0 : this.limits.maxPending;
    if (this.#waiting.length >= maxPending + opening * this.#places) return Promise.reject(new ProxyError('upstream_queue_full'));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        send: (free) => {
          request.cancellation.unsubscribe(cancellable);
          free.send(request, exchange).then(resolve, reject);
        },
        fail: (reason) => {
          request.cancellation.unsubscribe(cancellable);
          reject(reason);
        },
      };
      const cancellable = {
        cancel: (reason: Error) => {
          const index = this.#waiting.indexOf(waiting);
          // Those in front wait for a connection that the endpoint is slow to open.
          const isInLine = index >= this.#expected;
          if (index !== -1) this.#waiting.splice(index, 1);
          reject(isInLine ? endOfWait(reason) : reason);
          // Whoever comes next may have its place on a connection that is being opened.
          this.guard?.freed();
        },
      };
      this.#waiting.push(waiting);
      request.cancellation.subscribe(cancellable);
      this.serveWaiting();
    });
  }

  /** Requests that the connections which are being opened will carry. */
  get #expected(): number {
    return this.#opening * this.#places;
  }

  get #mayOpen(): boolean {
    if (this.#pause.isOn || (this.#pause.isCareful && this.#opening > 0)) return false;
    return this.#sessions.size + this.#opening < this.limits.maxConnections;
  }

  get #hasOpen(): boolean {
    for (const session of this.#sessions) if (session.isOpen) return true;
    return false;
  }

  #free(): Http2UpstreamSession | undefined {
    for (const session of this.#sessions) if (session.hasRoom) return session;
    return undefined;
  }

  #connect(): void {
    this.#opening++;
    this.#dialer.dial(http2Socket(['h2']), {
      ready: (socket, protocol) => {
        socket.on('error', () => {});
        if (!this.isSecure || protocol === 'h2') {
          this.#open(socket);
          return;
        }
        socket.destroy();
        this.#failed(new ProxyError('upstream_tls_failed', { cause: new Error('the endpoint does not speak HTTP/2') }));
      },
      failed: (reason) => this.#failed(toProxyError(reason)),
    });
  }

  #open(socket: Socket): void {
    const session = new Http2UpstreamSession(socket, this, (failure) => {
      if (failure === undefined) this.#opened(session);
      else this.#failed(failure);
    });
    this.sweep.add(session);
  }

  #opened(session: Http2UpstreamSession): void {
    this.#opening--;
    this.#sessions.add(session);
    this.#places = Math.max(1, session.capacity);
    if (session.hasRoom) {
      this.#pause.end();
    } else {
      this.#pause.begin();
      this.#closeUseless(session);
    }
    if (this.#closed && this.#waiting.length === 0) session.close();
    this.freed();
  }

  #failed(failure: ProxyError): void {
    this.#opening--;
    if (this.#opening > 0 || this.#hasOpen) this.#pause.begin();
    else this.#failWaiting(failure);
    this.freed();
  }

  /** Whoever waits on nothing else fails with it: a retry may find the endpoint better. The next request tries at once. */
  #failWaiting(failure: ProxyError): void {
    this.#pause.end();
    for (const { fail } of this.#waiting.splice(0)) fail(failure);
  }

  /** One that allows no stream may allow some later; more of them would not help. */
  #closeUseless(except: Http2UpstreamSession): void {
    for (const session of this.#sessions) if (session !== except && session.isIdle && !session.hasRoom) session.close();
  }
}

/** Whether a request that failed is sent once more, as far as its body can be. */
function mayGoOutAgain(error: unknown, request: HttpRequest): boolean {
  if (!(error instanceof ProxyError) || request.cancellation.isCancelled) return false;
  return error.code === 'upstream_refused' || isKeepAliveRace(error, request, error.cause instanceof ClosedUnanswered);
}

/** What a socket is opened with on which HTTP/2 may be spoken. */
export function http2Socket(protocols: readonly string[]): { ALPNProtocols: string[]; highWaterMark: number } {
  return { ALPNProtocols: [...protocols], highWaterMark: 65_536 };
}
