import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock } from '../../clock/clock.js';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import type { LimitsConfig } from '../../config/sections.js';
import { RateBound } from '../../http2/rate-bound.js';
import { glance, nextGlance } from '../http2/glance.js';

interface ClientSessionOptions {
  readonly limits: LimitsConfig;
  readonly clock: Clock;
  /** Hears of it when the session is closed because its client asks for more than anybody needs. */
  readonly onFlood: (reason: 'resets' | 'control_frames') => void;
}

/** How long a session that was told to go away, and carries nothing any more, may stay (ms). */
const lingerMs = 1_000;

/**
 * Holds a session of HTTP/2, whose streams Fastify serves, to the listener's limits: those of the engine's own connections, by the same
 * rules. After an error of its connection Node's library reads it no more, and nobody hears that its client leaves: it is looked after.
 */
export class ClientSession implements Sweepable {
  deadline: number;
  readonly #resets: RateBound;
  readonly #controlFrames: RateBound;
  #open = 0;
  #requests = 0;
  #isGoingAway = false;

  constructor(
    private readonly session: ServerHttp2Session,
    private readonly socket: Socket,
    private readonly options: ClientSessionOptions,
  ) {
    const { headTimeout, http2 } = options.limits;
    const now = this.#now();
    this.deadline = now + headTimeout;
    this.#resets = new RateBound(http2.resetBurst, http2.resetsPerSecond, now);
    this.#controlFrames = new RateBound(http2.controlFrameBurst, http2.controlFramesPerSecond, now);
    socket.once('end', () => socket.destroy());
    session.on('error', () => {});
    session.prependListener('stream', this.#onStream);
    session.on('ping', this.#onControlFrame);
    session.on('remoteSettings', this.#onControlFrame);
  }

  /** Tells the client to send no more requests; the session ends with the last that it has open. */
  goAway(): void {
    if (this.#isGoingAway) return;
    this.#isGoingAway = true;
    if (!this.session.destroyed) this.session.close();
    if (this.#open === 0 || this.session.destroyed) this.deadline = this.#now() + lingerMs;
  }

  onDeadline(): void {
    if (this.#open > 0 && !this.session.destroyed) this.deadline = glance(this.session, this.socket, this.#now());
    else if (this.#isGoingAway || this.#requests === 0) this.destroy();
    else this.goAway();
  }

  /** A session that says goodbye waits for its client to close, for ever: its socket is not left to it. */
  destroy(): void {
    this.session.destroy();
    this.socket.destroy();
  }

  #now(): number {
    return this.options.clock.now();
  }

  readonly #onStream = (stream: ServerHttp2Stream): void => {
    this.#open++;
    if (this.#open === 1) this.deadline = nextGlance(this.#now());
    stream.once('close', () => this.#onStreamClosed(stream));
    if (++this.#requests >= this.options.limits.maxRequestsPerConnection) this.goAway();
  };

  #onStreamClosed(stream: ServerHttp2Stream): void {
    this.#open--;
    if (this.#open === 0) this.deadline = this.#now() + (this.#isGoingAway ? lingerMs : this.options.limits.idleTimeout);
    // A session that breaks takes all of its streams with it, which is no abuse.
    const wasTakenBack = !stream.headersSent && stream.rstCode !== constants.NGHTTP2_NO_ERROR && !this.session.destroyed;
    if (wasTakenBack && !this.#resets.take(this.#now())) this.#calm('resets');
  }

  readonly #onControlFrame = (): void => {
    if (!this.#controlFrames.take(this.#now())) this.#calm('control_frames');
  };

  #calm(reason: 'resets' | 'control_frames'): void {
    if (this.session.destroyed) return;
    this.options.onFlood(reason);
    this.#isGoingAway = true;
    this.deadline = this.#now() + lingerMs;
    this.session.destroy(new Error(`too many ${reason}`), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}
