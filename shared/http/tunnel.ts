import type { Socket } from 'node:net';
import { breakOff as reset } from './break-off.js';
import { hasReset } from './has-reset.js';

/**
 * One side of a connection that stopped speaking HTTP (RFC 9110 section 7.8): bytes pass as they are, each direction ends
 * by itself, and a side that takes nothing makes the other wait.
 *
 * Whoever owns the socket tells of its events; two ends are joined once both sides have agreed to switch.
 */
export class TunnelEnd {
  /** Bytes that came from this side. */
  bytes = 0;
  /** Hears of every read from this side, and whenever it has taken all that it was sent. */
  onActive: (() => void) | undefined;
  /** Hears that this side is gone. */
  onClosed: (() => void) | undefined;
  /** Hears that the other side is gone, and that this one is kept for what it has yet to take: for whoever owns it to see to that it does. */
  onLeftOver: (() => void) | undefined;
  #other: TunnelEnd | undefined;
  /** What came before the other side was known: at most one read, since the socket is then paused. */
  #early: Buffer[] = [];
  #hasEnded = false;
  #isClosed = false;

  /** `breakOff` ends this side when the other one is gone in the middle of something. */
  constructor(
    private readonly socket: Socket,
    private readonly breakOff: () => void = () => reset(socket),
  ) {}

  /** Whether this side has said all that it had to say. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  join(other: TunnelEnd): void {
    this.#attach(other);
    other.#attach(this);
  }

  received(data: Buffer): void {
    this.bytes += data.length;
    this.onActive?.();
    if (this.#other === undefined) {
      this.#early.push(data);
      this.socket.pause();
    } else if (!this.#other.socket.write(data)) {
      this.socket.pause();
    }
  }

  /** This side will send nothing more. */
  ended(): void {
    if (hasReset(this.socket)) {
      this.socket.destroy();
      return;
    }
    this.#hasEnded = true;
    this.#other?.socket.end();
  }

  /** This side can take more. */
  drained(): void {
    this.onActive?.();
    this.#other?.socket.resume();
  }

  /** This side is gone, and so is the tunnel. What it had said, if it had said all it had to say, is still delivered. */
  closed(): void {
    this.#isClosed = true;
    if (this.#hasEnded) this.#other?.finish();
    else this.#other?.breakOff();
    this.onClosed?.();
  }

  destroy(): void {
    this.breakOff();
  }

  /** Ends this side for no fault of anybody's: its peer sees a plain end, if it has taken all that it was sent. */
  close(): void {
    if (this.socket.writableLength === 0) this.socket.destroy();
    else this.breakOff();
  }

  /** The other side is gone, and has said all: this one takes what is left of that, and is gone too. */
  finish(): void {
    this.socket.destroySoon();
    if (!this.socket.destroyed) this.onLeftOver?.();
  }

  #attach(other: TunnelEnd): void {
    this.#other = other;
    const early = this.#early;
    this.#early = [];
    for (const data of early) other.socket.write(data);
    if (this.#hasEnded) other.socket.end();
    if (this.#isClosed) this.closed();
    this.socket.resume();
  }
}

/** The end of a tunnel whose socket belongs to nobody else. */
export function tunnelEndOf(socket: Socket, breakOff: () => void): TunnelEnd {
  const end = new TunnelEnd(socket, breakOff);
  socket.on('data', (data) => end.received(data));
  socket.on('end', () => end.ended());
  socket.on('drain', () => end.drained());
  socket.on('close', () => end.closed());
  return end;
}
