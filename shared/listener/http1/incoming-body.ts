import type { LimitsConfig } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { StreamBody } from '../../http/body.js';
import { bodyDecoder, type BodyDecoder } from '../../http1/body-decoder.js';
import type { Framing } from '../../http1/framing.js';
import { BodyPace } from '../body-pace.js';

/** The body of a request while it arrives, held to the listener's limits. */
export class IncomingBody {
  readonly stream: StreamBody;
  bytes = 0;
  /** Clock reading (ms) at which a pause has been too long. */
  deadline: number;
  readonly #decoder: BodyDecoder;
  readonly #pace: BodyPace;

  constructor(
    framing: Framing,
    private readonly limits: LimitsConfig,
    now: () => number,
    socket: { pause(): unknown; resume(): unknown },
    /** `Expect: 100-continue`. */
    isHeldBack = false,
  ) {
    const startedAt = now();
    this.#pace = new BodyPace(limits.minBodyRate, startedAt, isHeldBack);
    this.deadline = startedAt + limits.bodyIdleTimeout;
    this.#decoder = bodyDecoder(framing)!;
    this.stream = new StreamBody(framing.kind === 'length' ? framing.length : undefined, {
      pause: () => {
        this.#pace.pause(now());
        socket.pause();
      },
      resume: () => {
        this.#pace.resume(now());
        this.deadline = now() + limits.bodyIdleTimeout;
        socket.resume();
      },
      cancel: () => {},
    }, this.#pace);
  }

  /** The client is asked for it, or sends it without having been asked. */
  ask(now: number): void {
    this.#pace.ask(now);
    this.deadline = now + this.limits.bodyIdleTimeout;
  }

  /** A client that we made wait is not the one that is late. */
  get isPaused(): boolean {
    return this.#pace.isPaused;
  }

  /** The last byte was read. */
  get isComplete(): boolean {
    return this.#decoder.done;
  }

  /** Consumes `data` from `offset`; returns the offset behind what belongs to the body. Throws `Http1Error` and `ProxyError`. */
  read(data: Buffer, offset: number, now: number): number {
    this.ask(now);
    const end = this.#decoder.decode(data, offset, this.#push);
    if (this.isComplete) this.#pace.complete(now);
    else if (this.#pace.isTooSlow(this.bytes, now)) throw new ProxyError('request_timeout');
    return end;
  }

  /** Tells whoever reads it that it is whole. */
  end(): void {
    this.stream.end(this.#decoder.trailers);
  }

  readonly #push = (chunk: Buffer): void => {
    this.bytes += chunk.length;
    if (this.bytes > this.limits.maxBodyBytes) throw new ProxyError('body_too_large');
    this.stream.push(chunk);
  };
}
