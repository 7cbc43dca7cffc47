import { connect, type ClientHttp2Session, type Settings } from 'node:http2';
import type { Socket } from 'node:net';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { PoolLimits } from '../connection-pool.js';
import { Http2Attempt } from './http2-attempt.js';
import type { Http2Pool } from './http2-pool.js';

/** What an upstream's head may hold, in fields. */
const maxFields = 256;
/** How long (ms) the endpoint has to close a connection on which both sides have said all. */
const closeGraceMs = 1_000;

/**
 * One connection of HTTP/2 to an endpoint, carrying up to as many exchanges as both sides allow.
 *
 * `opening` until the endpoint's SETTINGS have come: they prove that it speaks HTTP/2 and say how many streams it takes. `open`;
 * then `leaving`, after its GOAWAY or ours, while streams finish and new ones go elsewhere; `closed`. Where the endpoint does not close
 * its side, that is done here a moment after the last stream.
 */
export class Http2UpstreamSession implements Sweepable {
  deadline: number;
  readonly #client: ClientHttp2Session;
  readonly #attempts = new Set<Http2Attempt>();
  #state: 'opening' | 'open' | 'leaving' | 'closed' = 'opening';
  #capacity: number;
  /** The last stream that the endpoint says it may have processed, once it goes away. */
  #lastProcessed = Infinity;
  #idleSince = 0;
  #pingDueAt = Infinity;
  #pingSentAt: number | undefined;
  /** Nothing has come since the last doubt. */
  #isDoubted = false;

  constructor(
    private readonly socket: Socket,
    private readonly pool: Http2Pool,
    /** Called once: when the session is open, or with the reason why it will not be. */
    private readonly opened: (failure: ProxyError | undefined) => void,
  ) {
    const { limits } = pool;
    this.#capacity = limits.http2.maxConcurrentStreams;
    this.deadline = pool.clock.now() + limits.connectTimeout;
    const client = connect('http://endpoint', {
      createConnection: () => socket,
      maxHeaderListPairs: maxFields,
      maxSessionMemory: Math.max(10, Math.ceil((this.#capacity * 2 * 65_536) / 2 ** 20)),
      settings: { enablePush: false, maxHeaderListSize: limits.maxHeadBytes },
    });
    this.#client = client;
    client.on('error', (error) => this.#end(this.#state === 'opening' ? new ProxyError('upstream_protocol', { cause: error }) : undefined));
    client.on('remoteSettings', ({ maxConcurrentStreams }: Settings) => {
      this.#capacity = Math.min(limits.http2.maxConcurrentStreams, maxConcurrentStreams ?? Infinity);
      if (this.#state === 'opening') this.#open();
      else this.pool.freed();
    });
    client.on('goaway', (_code: number, lastStreamId: number) => {
      this.#lastProcessed = lastStreamId;
      this.#leave();
    });
    client.once('close', () => this.#end(new ProxyError('upstream_connect_failed', { cause: new Error('the connection was closed before its first frame') })));
    socket.once('end', () => socket.destroy());
  }

  get name(): string {
    return this.pool.name;
  }

  get scheme(): 'http' | 'https' {
    return this.pool.isSecure ? 'https' : 'http';
  }

  get limits(): PoolLimits {
    return this.pool.limits;
  }

  get streams(): number {
    return this.#attempts.size;
  }

  /** Streams at a time. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Takes requests, now or once others are over. */
  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Open, and carries nothing. */
  get isIdle(): boolean {
    return this.#state === 'open' && this.#attempts.size === 0;
  }

  get hasRoom(): boolean {
    const isInDoubt = this.#isDoubted && this.#pingSentAt !== undefined;
    return this.#state === 'open' && !isInDoubt && this.#attempts.size < this.#capacity && !this.#client.closed && !this.#client.destroyed;
  }

  now(): number {
    return this.pool.clock.now();
  }

  /** Whether the endpoint has said that it will not process this stream. */
  leftOut(streamId: number | undefined): boolean {
    return streamId !== undefined && streamId > this.#lastProcessed;
  }

  send(request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const attempt = new Http2Attempt(this, request, exchange, resolve, reject);
      this.#attempts.add(attempt);
      this.pool.sweep.add(attempt);
      if (this.#attempts.size === 1) this.#schedule();
      attempt.start(this.#client);
    });
  }

  /** Something came on a stream: the endpoint is there. */
  heard(): void {
    this.#isDoubted = false;
  }

  /**
   * A request was given up in a silence: the endpoint may be slow, or the connection dead without anybody noticing, also since Node 20
   * keeps one open that its library has given up. It is asked, and gets nothing new until it answers. One question for each silence,
   * since servers of gRPC take more for abuse.
   */
  doubt(): void {
    if (this.#isDoubted || this.#pingSentAt !== undefined || this.#state === 'opening' || this.#state === 'closed') return;
    this.#isDoubted = true;
    this.#ping(this.now());
    this.#schedule();
  }

  /** The stream of an attempt is gone. */
  release(attempt: Http2Attempt): void {
    if (!this.#attempts.delete(attempt)) return;
    this.pool.sweep.delete(attempt);
    if (this.#attempts.size === 0) this.#rest();
    this.pool.freed();
  }

  /** Takes no more requests; ends when those in flight are over. */
  close(): void {
    if (!this.#client.destroyed) this.#client.close();
    this.#leave();
  }

  destroy(): void {
    this.#client.destroy();
    this.socket.destroy();
  }

  onDeadline(): void {
    const now = this.now();
    if (this.#state === 'opening') this.#end(new ProxyError('upstream_connect_failed', { cause: new Error('the first frame took too long') }));
    else if (this.#pingSentAt !== undefined && now - this.#pingSentAt >= this.limits.http2.pingTimeout) this.#end(undefined);
    else if (this.#attempts.size === 0) this.#restEnds(now);
    else if (now >= this.#pingDueAt) this.#ping(now);
    this.#schedule();
  }

  #open(): void {
    this.#state = 'open';
    this.#idleSince = this.now();
    this.#schedule();
    this.opened(undefined);
  }

  #schedule(): void {
    const { idleTimeout, http2 } = this.limits;
    const now = this.now();
    if (this.#state === 'closed' || this.#state === 'opening') return;
    if (this.#attempts.size > 0 && http2.pingInterval > 0 && (this.#pingDueAt === Infinity || this.#pingDueAt < now)) this.#pingDueAt = now + http2.pingInterval;
    const due = this.#attempts.size === 0 ? this.#idleSince + (this.#state === 'leaving' ? closeGraceMs : idleTimeout) : http2.pingInterval > 0 ? this.#pingDueAt : Infinity;
    this.deadline = this.#pingSentAt === undefined ? due : Math.min(due, this.#pingSentAt + http2.pingTimeout);
  }

  #ping(now: number): void {
    this.#pingSentAt = now;
    this.#pingDueAt = now + this.limits.http2.pingInterval;
    if (this.#client.destroyed) return;
    this.#client.ping(() => {
      this.#pingSentAt = undefined;
      this.pool.freed();
    });
  }

  #leave(): void {
    if (this.#state !== 'open') return;
    this.#state = 'leaving';
    if (this.#attempts.size === 0) this.#rest();
    else this.pool.freed();
  }

  /** It carries nothing: it waits for more or, once it has left, for the endpoint to close. */
  #rest(): void {
    this.#idleSince = this.now();
    this.#schedule();
    if (this.#state === 'leaving') this.pool.retire(this);
  }

  #restEnds(now: number): void {
    if (this.#state === 'leaving') this.#end(undefined);
    else if (now >= this.#idleSince + this.limits.idleTimeout) this.close();
  }

  #end(failure: ProxyError | undefined): void {
    if (this.#state === 'closed') return;
    const wasOpening = this.#state === 'opening';
    this.#state = 'closed';
    this.destroy();
    this.pool.remove(this);
    if (wasOpening) this.opened(failure);
  }
}
