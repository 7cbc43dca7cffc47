import { connect, type ClientHttp2Session, type Settings } from 'node:http2';
import type { Socket } from 'node:net';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { RateBound } from '../../http2/rate-bound.js';
import type { PoolLimits } from '../connection-pool.js';
import { Http2Attempt } from './http2-attempt.js';
import type { Http2Pool } from './http2-pool.js';

/** What an upstream's head may hold, in fields. */
const maxFields = 256;
/** A field with a space at an edge is left out of an answer without a word unless this is said, which Node can from 24.2 on. */
const keepsSpaces = { strictFieldWhitespaceValidation: false };
/** How long (ms) the endpoint has to close a connection on which both sides have said all. */
const closeGraceMs = 1_000;
/** How often (ms) a session that carries requests is looked at, and how long after a question whether that went out. */
const lookEveryMs = 500;
const outWithinMs = 100;
/**
 * Between two questions (ms) that only silence has led to: where something has come on a stream since, and where nothing has. In that case
 * servers of gRPC take three within five minutes each for abuse.
 */
const askAgainMs = 10_000;
const askUnheardAgainMs = 330_000;
/** Between two questions (ms) that requests have led to which were given up; from the third of a silence on `askAgainMs`. */
const doubtAgainMs = 1_000;
/**
 * How many streams are taken back on a session at once, and a second in the long run, until it takes no more. Endpoints close a connection
 * that resets too many, with all that it carries: nghttp2 at 1,000 and 33 a second, our listeners and Envoy at 500 unanswered ones. Those in flight
 * may still be taken back too.
 */
const resetBurst = 250;
const resetsPerSecond = 25;

/**
 * One connection of HTTP/2 to an endpoint, carrying up to as many exchanges as both sides allow.
 *
 * `opening` until the endpoint's SETTINGS have come: they prove that it speaks HTTP/2 and say how many streams it takes. `open`;
 * then `leaving`, after its GOAWAY or ours, while streams finish and new ones go elsewhere; `closed`. Where the endpoint does not close
 * its side, that is done here a moment after the last stream.
 *
 * What breaks the protocol ends a connection, but Node 20 often keeps one open that its library has given up: nothing more is read
 * from it, and nothing written. Nobody is told, so it is looked for: where bytes have come, and then nothing was heard or written for a
 * while, a ping is sent. Where not even that goes out, the session is over and the endpoint to blame. One that goes out proves enough: that it is
 * answered in time counts only with `pingInterval`, and when a request was given up.
 */
export class Http2UpstreamSession implements Sweepable {
  deadline: number;
  readonly #client: ClientHttp2Session;
  readonly #settings: Settings;
  readonly #attempts = new Set<Http2Attempt>();
  #state: 'opening' | 'open' | 'leaving' | 'closed' = 'opening';
  #capacity: number;
  /** The last stream that the endpoint says it may have processed, once it goes away. */
  #lastProcessed = Infinity;
  #idleSince = 0;
  #pingDueAt = Infinity;
  #pingSentAt: number | undefined;
  /** The session ends if the ping is not answered. */
  #isVital = false;
  #lookAt = Infinity;
  #askedAt = -Infinity;
  /** Something has come on a stream since the last look or ping, and since the last question of silence. */
  #wasHeard = true;
  #wasHeardSinceAsked = true;
  /** How much had come and gone when the last ping was answered, and at the last look or ping. */
  #bytesUnderstood = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #isGivenUp = false;
  #maxFieldBytes = Infinity;
  /** How often it was asked, since something last came on a stream, because a request was given up; and when last. */
  #doubts = 0;
  #doubtedAt = -Infinity;
  #answers = 0;
  readonly #resets: RateBound;
  #isUsed = false;
  #wasClosedByEndpoint = false;

  constructor(
    private readonly socket: Socket,
    private readonly pool: Http2Pool,
    /** Called once: when the session is open, or with the reason why it will not be. */
    private readonly opened: (failure: ProxyError | undefined) => void,
  ) {
    const { limits } = pool;
    this.#capacity = limits.http2.maxConcurrentStreams;
    this.deadline = pool.clock.now() + limits.connectTimeout;
    this.#resets = new RateBound(resetBurst, resetsPerSecond, pool.clock.now());
    this.#settings = { enablePush: false, maxHeaderListSize: limits.maxHeadBytes };
    const client = connect('http://endpoint', {
      createConnection: () => socket,
      maxHeaderListPairs: maxFields,
      maxSessionMemory: Math.max(10, Math.ceil((this.#capacity * 2 * 65_536) / 2 ** 20)),
      // How long a head may be was for the listener to say.
      maxSendHeaderBlockLength: 2 ** 32 - 1,
      settings: this.#settings,
      ...keepsSpaces,
    });
    this.#client = client;
    client.on('error', (error) => this.#end(this.#state === 'opening' ? new ProxyError('upstream_protocol', { cause: error }) : undefined));
    client.on('remoteSettings', ({ maxConcurrentStreams, maxHeaderListSize }: Settings) => {
      // An endpoint that has said nothing has no limit, which Node tells as the largest number that there is.
      this.#maxFieldBytes = maxHeaderListSize === undefined || maxHeaderListSize === 2 ** 32 - 1 ? Infinity : maxHeaderListSize;
      this.#capacity = Math.min(limits.http2.maxConcurrentStreams, maxConcurrentStreams ?? Infinity);
      if (this.#state === 'opening') this.#open();
      else this.pool.freed();
    });
    client.on('goaway', (_code: number, lastStreamId: number) => {
      this.#lastProcessed = lastStreamId;
      this.leave();
    });
    client.once('close', () => this.#end(new ProxyError('upstream_connect_failed', { cause: new Error('the connection was closed before its first frame') })));
    socket.once('error', () => (this.#wasClosedByEndpoint = this.#state !== 'closed'));
    socket.once('end', () => {
      this.#wasClosedByEndpoint = this.#state !== 'closed';
      socket.destroy();
    });
  }

  /** Of requests that name none. */
  get authority(): string {
    return this.pool.authority;
  }

  get scheme(): 'http' | 'https' {
    return this.pool.isSecure ? 'https' : 'http';
  }

  /** The endpoint broke an answer off. */
  brokenOff(exchange: Exchange): void {
    this.pool.onBrokenOff?.(exchange);
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

  /** The longest head that it takes, by the measure of `fieldBytes`; `Infinity` where it has not said. */
  get maxFieldBytes(): number {
    return this.#maxFieldBytes;
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
    const isInDoubt = this.#doubts > 0 && this.#pingSentAt !== undefined;
    return this.#state === 'open' && !isInDoubt && this.#attempts.size < this.#capacity && !this.#client.closed && !this.#client.destroyed;
  }

  now(): number {
    return this.pool.clock.now();
  }

  /** Whether what the endpoint sent has ended it. */
  get isGivenUp(): boolean {
    return this.#isGivenUp;
  }

  /** Whether it has answered anything. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** Whether the endpoint has closed the connection without saying what it has processed. */
  get wasClosedSilently(): boolean {
    return this.#wasClosedByEndpoint && this.#lastProcessed === Infinity;
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
    this.#wasHeard = true;
    this.#wasHeardSinceAsked = true;
    this.#isUsed = true;
    if (this.#doubts === 0) return;
    this.#doubts = 0;
    this.pool.freed();
  }

  /** How many of its questions were answered. */
  get answers(): number {
    return this.#answers;
  }

  /**
   * A request was given up: the endpoint may be slow, or the connection dead without anybody noticing. It is asked, and gets nothing new until it
   * answers. In the same silence only a request that was sent after the answer (`answers` is what there had been by then) says anything new. Then
   * it is asked again and another connection takes over, since servers of gRPC take more questions than that for abuse.
   */
  doubt(answers: number): void {
    const now = this.now();
    if (this.#isVital || this.#state === 'opening' || this.#state === 'closed' || now < this.#doubtedAt + (this.#doubts < 2 ? doubtAgainMs : askAgainMs)) return;
    if (this.#doubts > 0 && answers !== this.#answers) return;
    this.#doubts++;
    this.#doubtedAt = now;
    this.#ping(now, true);
    if (this.#doubts > 1) this.#makeWay();
    this.#schedule();
  }

  /** A stream is reset before its end. Whoever brings that about must not cost others theirs. */
  tookBack(): void {
    if (!this.#resets.take(this.now())) this.#makeWay();
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
    this.leave();
  }

  /** The same without a word to the endpoint: Node says it before what it was told to send, and many endpoints then refuse that. */
  leave(): void {
    if (this.#state !== 'open') return;
    this.#state = 'leaving';
    if (this.#attempts.size === 0) this.#rest();
    else this.pool.freed();
  }

  destroy(): void {
    this.#client.destroy();
    this.socket.destroy();
  }

  onDeadline(): void {
    const now = this.now();
    if (this.#state === 'opening') this.#end(new ProxyError('upstream_connect_failed', { cause: new Error('the first frame took too long') }));
    else if (this.#pingSentAt !== undefined && now - this.#pingSentAt >= this.limits.http2.pingTimeout) this.#pingIsOverdue();
    else if (this.#attempts.size === 0) this.#restEnds(now);
    else this.#watch(now);
    this.#schedule();
  }

  /** Takes no more requests, if another connection may be made for them. */
  #makeWay(): void {
    if (this.#state === 'open' && this.pool.mayReplace) this.leave();
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
    if (this.#attempts.size > 0 && (this.#lookAt === Infinity || this.#lookAt < now)) this.#lookAt = now + lookEveryMs;
    const due = this.#attempts.size === 0 ? this.#idleSince + (this.#state === 'leaving' ? closeGraceMs : idleTimeout) : Math.min(this.#lookAt, http2.pingInterval > 0 ? this.#pingDueAt : Infinity);
    this.deadline = this.#pingSentAt === undefined ? due : Math.min(due, this.#pingSentAt + http2.pingTimeout);
  }

  #watch(now: number): void {
    if (now >= this.#lookAt) this.#look(now);
    if (this.#state === 'closed' || now < this.#pingDueAt) return;
    // Due again at the next interval, answered or not.
    this.#pingDueAt = Infinity;
    if (!this.#isVital) this.#ping(now, true);
  }

  #look(now: number): void {
    this.#lookAt = now + lookEveryMs;
    const { bytesRead, bytesWritten } = this.socket;
    const isSilent = !this.#wasHeard && bytesWritten === this.#bytesWritten;
    if (this.#pingSentAt !== undefined) {
      if (this.#wasHeard) this.#answered();
      // What was written in this turn of the event loop goes out at its end.
      else if (!this.#hasAsked) setImmediate(() => this.#pingSentAt !== undefined && !this.#hasAsked && this.#giveUp());
      return;
    }
    this.#wasHeard = false;
    this.#bytesWritten = bytesWritten;
    if (isSilent && bytesRead > this.#bytesUnderstood && now >= this.#askedAt + (this.#wasHeardSinceAsked ? askAgainMs : askUnheardAgainMs)) {
      this.#askedAt = now;
      this.#wasHeardSinceAsked = false;
      this.#ping(now, this.limits.http2.pingInterval > 0);
    }
  }

  /** Whether the ping has gone out, or is held up by the network behind what has not. */
  get #hasAsked(): boolean {
    return this.socket.bytesWritten !== this.#bytesWritten || unsentBytes(this.socket) > 0;
  }

  #giveUp(): void {
    this.#isGivenUp = this.#state !== 'closed';
    this.#end(undefined);
  }

  /** One that has been sent already will do, and gets its time anew. */
  #ping(now: number, isVital: boolean): void {
    if (this.#client.destroyed) return;
    const isUnderWay = this.#pingSentAt !== undefined;
    this.#pingSentAt = now;
    this.#isVital = isVital;
    if (isUnderWay) return;
    this.#lookAt = now + outWithinMs;
    this.#wasHeard = false;
    this.#bytesRead = this.socket.bytesRead;
    this.#bytesWritten = this.socket.bytesWritten;
    const answered = (error: Error | null): void => {
      if (error === null) {
        this.#bytesUnderstood = this.socket.bytesRead;
        this.#answers++;
      }
      this.#answered();
    };
    // On a session that leaves Node sends no pings; settings are answered as well.
    if (this.#client.closed) this.#client.settings(this.#settings, answered);
    else this.#client.ping(answered);
  }

  /** An endpoint that sends is there, whether it answers pings or not. What comes counts only while the library reads it, and so writes. */
  #pingIsOverdue(): void {
    const { bytesRead, bytesWritten } = this.socket;
    if (this.#wasHeard || (bytesRead > this.#bytesRead && bytesWritten > this.#bytesWritten)) this.#answered();
    else if (!this.#hasAsked) this.#giveUp();
    else if (this.#isVital) this.#end(undefined);
    else this.#answered();
  }

  #answered(): void {
    if (this.#pingSentAt === undefined) return;
    this.#pingSentAt = undefined;
    this.#isVital = false;
    this.pool.freed();
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

/** What the kernel, or TLS, has not taken yet of what the library wrote past the socket's stream. */
function unsentBytes(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly writeQueueSize?: number } | null };
  return handle?.writeQueueSize ?? 0;
}
