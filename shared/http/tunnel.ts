import type { Socket } from 'node:net';

/**
 * One side of a connection that stopped speaking HTTP (RFC 9110 section 7.8): bytes pass as they are, each direction ends
 * by itself, and a side that takes nothing makes the other wait.
 *
 * Whoever owns the socket tells of its events; two ends are joined once both sides have agreed to switch.
 */
export class TunnelEnd {
  /** Bytes that came from this side. */
  bytes = 0;
  /** Hears of every read from this side. */
  onActive: (() => void) | undefined;
  #other: TunnelEnd | undefined;
  /** What came before the other side was known: at most one read, since the socket is then paused. */
  #early: Buffer[] = [];
  #hasEnded = false;

  constructor(private readonly socket: Socket) {}

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
    this.#hasEnded = true;
    this.#other?.socket.end();
  }

  /** This side can take more. */
  drained(): void {
    this.#other?.socket.resume();
  }

  /** This side is gone, and so is the tunnel. What it had said, if it had said all it had to say, is still delivered. */
  closed(): void {
    if (this.#hasEnded) this.#other?.socket.destroySoon();
    else this.#other?.socket.destroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  #attach(other: TunnelEnd): void {
    this.#other = other;
    const early = this.#early;
    this.#early = [];
    for (const data of early) other.socket.write(data);
    if (this.#hasEnded) other.socket.end();
    this.socket.resume();
  }
}
