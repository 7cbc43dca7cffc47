import type { Arrival } from '../http/body.js';

/** Time before a body's average rate is looked at (ms; Kestrel's default, as is the rate). */
export const graceMs = 5_000;

/** How fast a body arrives: from its beginning, without the time in which we did not want any of it. */
export class BodyPace implements Arrival {
  #startedAt: number;
  #pausedAt: number | undefined;
  /** How long it took in all (ms), once it is whole. */
  #tookMs: number | undefined;

  constructor(
    /** Bytes a second; 0: any. */
    private readonly minRate: number,
    now: number,
    /** The client waits to be asked for it (`Expect: 100-continue`). */
    private isHeldBack = false,
    /** It stays open for as long as its two ends like, as that of a call of gRPC: nobody is awaited. */
    private readonly isOpenEnded = false,
  ) {
    this.#startedAt = now;
  }

  /** A client that we made wait is not the one that is late. */
  get isPaused(): boolean {
    return this.isHeldBack || this.#pausedAt !== undefined;
  }

  get isComplete(): boolean {
    return this.#tookMs !== undefined;
  }

  get isOwed(): boolean {
    return !this.isComplete && this.#pausedAt === undefined;
  }

  /** The client is asked for it, or sends it without having been asked. Returns whether it had been held back. */
  ask(now: number): boolean {
    if (!this.isHeldBack) return false;
    this.isHeldBack = false;
    this.#startedAt = now;
    return true;
  }

  pause(now: number): void {
    this.#pausedAt ??= now;
  }

  /** Returns whether it had been paused. */
  resume(now: number): boolean {
    if (this.#pausedAt === undefined) return false;
    this.#startedAt += now - this.#pausedAt;
    this.#pausedAt = undefined;
    return true;
  }

  /** The last of it is here. */
  complete(now: number): void {
    this.#tookMs ??= this.sendingMs(now);
  }

  awaitedMs(now: number): number {
    return this.isOpenEnded ? 0 : this.sendingMs(now);
  }

  sendingMs(now: number): number {
    return this.#tookMs ?? (this.isHeldBack ? 0 : (this.#pausedAt ?? now) - this.#startedAt);
  }

  isTooSlow(bytes: number, now: number): boolean {
    const elapsed = this.awaitedMs(now);
    return elapsed > graceMs && bytes < (elapsed / 1_000) * this.minRate;
  }
}
