import type { Socket } from 'node:net';
import type { Clock } from '../../clock/clock.js';
import type { Exchange } from '../../http/exchange.js';
import { TunnelEnd } from '../../http/tunnel.js';

/** A client's connection that speaks another protocol now, joined with the upstream's. It lasts as long as something passes, either way. */
export class ClientTunnel {
  readonly #end: TunnelEnd;
  readonly #clock: Clock;
  readonly #idleTimeoutMs: number;
  #upstream: TunnelEnd | undefined;
  #activeAt: number;

  constructor(socket: Socket, clock: Clock, idleTimeoutMs: number) {
    this.#end = new TunnelEnd(socket);
    this.#clock = clock;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#activeAt = clock.now();
  }

  /** Clock reading (ms) at which nothing has passed for too long. */
  get deadline(): number {
    return this.#activeAt + this.#idleTimeoutMs;
  }

  /** `early`: what the client has sent ahead; `hasEnded`: and that this was all. */
  join(upstream: TunnelEnd, exchange: Exchange, early: Buffer | undefined, hasEnded: boolean): void {
    if (early !== undefined) this.#end.received(early);
    if (hasEnded) this.#end.ended();
    this.#upstream = upstream;
    this.#end.join(upstream);
    this.#activeAt = this.#clock.now();
    upstream.onActive = () => {
      this.#activeAt = this.#clock.now();
    };
    exchange.countBytes = () => {
      exchange.requestBytes = this.#end.bytes;
      exchange.responseBytes = upstream.bytes;
    };
  }

  received(data: Buffer): void {
    this.#activeAt = this.#clock.now();
    this.#end.received(data);
  }

  ended(): void {
    this.#end.ended();
  }

  drained(): void {
    this.#end.drained();
  }

  closed(): void {
    this.#end.closed();
  }

  /** Ends both sides for no fault of anybody's; one that has not taken all that it was sent sees a reset. */
  close(): void {
    this.#end.close();
    this.#upstream?.close();
  }
}
