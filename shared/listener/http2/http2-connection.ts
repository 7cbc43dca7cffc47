import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { Exchange, type Peer } from '../../http/exchange.js';
import { RateBound } from '../../http2/rate-bound.js';
import type { Connection } from '../connection.js';
import type { Http1Listener } from '../http1-listener.js';
import { glance, nextGlance } from './glance.js';
import { Http2Exchange } from './http2-exchange.js';
import { sessionOptions } from './session-options.js';

/** How long a connection that was told to go away, and carries nothing any more, may stay (ms). */
const lingerMs = 1_000;

/**
 * One client connection of HTTP/2: frames, fields and flow control are node:http2's, on a socket that the listener accepted.
 *
 * What its library bounds by itself: CONTINUATION frames of a block, invalid frames, settings of a frame, acknowledgements that the peer
 * does not take, memory. What is bounded here: requests that are taken back unanswered, PING and SETTINGS frames, streams.
 * A drain says GOAWAY; streams that it names as not processed were never handed to the stack, so that a client can send them again.
 */
export class Http2Connection implements Connection {
  deadline: number;
  readonly #session: ServerHttp2Session;
  readonly #exchanges = new Set<Http2Exchange>();
  readonly #resets: RateBound;
  readonly #controlFrames: RateBound;
  #requests = 0;
  #isGoingAway = false;

  constructor(
    private readonly socket: Socket,
    private readonly clientAddress: string,
    readonly listener: Http1Listener,
    readonly peer: Peer | undefined,
  ) {
    const { limits } = listener.options;
    const now = this.now();
    this.deadline = now + limits.headTimeout;
    this.#resets = new RateBound(limits.http2.resetBurst, limits.http2.resetsPerSecond, now);
    this.#controlFrames = new RateBound(limits.http2.controlFrameBurst, limits.http2.controlFramesPerSecond, now);
    // Half open makes sense for HTTP/1.x alone: here a client that has ended is gone.
    socket.allowHalfOpen = false;
    socket.once('end', () => socket.destroy());
    const session = performServerHandshake(socket, sessionOptions(limits));
    this.#session = session;
    session.on('error', () => {});
    session.on('stream', this.#onStream);
    session.on('ping', this.#onControlFrame);
    session.on('remoteSettings', this.#onControlFrame);
    session.once('close', () => socket.destroy());
  }

  get isSecure(): boolean {
    return this.listener.options.credentials !== undefined || this.peer !== undefined;
  }

  closeIfIdle(): void {
    this.goAway();
  }

  goAway(): void {
    if (this.#isGoingAway || this.#session.destroyed) return;
    this.#isGoingAway = true;
    this.#session.close();
    if (this.#exchanges.size === 0) this.deadline = this.now() + lingerMs;
  }

  retire(): void {
    this.goAway();
  }

  destroy(): void {
    for (const exchange of this.#exchanges) exchange.shutDown();
    this.#session.destroy();
    this.socket.destroy();
  }

  onDeadline(): void {
    if (this.#exchanges.size > 0) this.#glance();
    else if (this.#isGoingAway || this.#requests === 0) this.destroy();
    else this.goAway();
  }

  now(): number {
    return this.listener.options.clock.now();
  }

  /** More frames wait than streams may be open: the client does not take what it gets. */
  get isBehind(): boolean {
    return (this.#session.state.outboundQueueSize ?? 0) > this.listener.options.limits.http2.maxConcurrentStreams;
  }

  /** Something was handed to a stream that its client has yet to take. */
  onHandedOver(): void {
    if (this.deadline === Infinity) this.deadline = nextGlance(this.now());
  }

  /** An exchange is over. `wasTakenBack`: its client reset it before it was answered. */
  over(exchange: Http2Exchange, wasTakenBack: boolean): void {
    this.#exchanges.delete(exchange);
    this.listener.sweep.delete(exchange);
    const now = this.now();
    if (this.#exchanges.size === 0) this.deadline = now + (this.#isGoingAway ? lingerMs : this.listener.options.limits.idleTimeout);
    // A connection that breaks takes all of its exchanges with it, which is no abuse.
    if (wasTakenBack) this.#countReset();
  }

  /** While a client takes nothing, Node's library does not read its connection either, and nobody hears of a reset (see `hasReset`). */
  #glance(): void {
    let isTaken = true;
    for (const exchange of this.#exchanges) isTaken &&= exchange.isTaken;
    if (isTaken) return;
    this.deadline = glance(this.#session, this.socket, this.now());
  }

  #countReset(): void {
    if (!this.#session.destroyed && !this.#resets.take(this.now())) this.#calm('resets');
  }

  readonly #onStream = (stream: ServerHttp2Stream, _fields: unknown, flags: number, raw?: readonly string[]): void => {
    if (stream.closed || stream.destroyed) {
      // It was taken back before we even heard of it.
      stream.on('error', () => {});
      stream.resume();
      this.#countReset();
      return;
    }
    const { options, sweep } = this.listener;
    if (this.#exchanges.size === 0) this.deadline = Infinity;
    const about = new Exchange(options.name, this.clientAddress, this.now());
    about.peer = this.peer;
    const exchange = new Http2Exchange(stream, about, this);
    this.#exchanges.add(exchange);
    sweep.add(exchange);
    exchange.start(raw ?? [], (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
    if (++this.#requests >= options.limits.maxRequestsPerConnection || this.listener.isDraining) this.goAway();
  };

  readonly #onControlFrame = (): void => {
    if (!this.#controlFrames.take(this.now())) this.#calm('control_frames');
  };

  /** The client asks for more than anybody needs: everything it has going is given up. */
  #calm(reason: 'resets' | 'control_frames'): void {
    if (this.#session.destroyed) return;
    this.listener.options.onFlood?.(reason, this.clientAddress);
    this.#session.destroy(new Error(`too many ${reason}`), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}
