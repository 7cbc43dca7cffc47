import type { HeldIdentity } from './held-identity.js';

/** A renewal begins when this share of the life is over: the first and the last moment, and chance between them. */
const firstShare = 0.4;
const lastShare = 0.48;
/** A certificate from disk whose time has come is renewed within this time (ms), so that proxies that start together do not ask together. */
const spreadMs = 5_000;

/** The life of a certificate, in time that no clock's setting has a say in as far as it can be helped. */
export interface Life {
  /** Whole life (ms). */
  readonly spanMs: number;
  /** What is left of it at `since`. */
  readonly leftMs: number;
}

/** Of one that was just made: whoever made it said how long it lives, so that our own clock may be wrong. */
export function lifeOfNew(lifetimeMs: number): Life {
  return { spanMs: lifetimeMs, leftMs: lifetimeMs };
}

/** Of one that was found on disk: by its own words and the wall clock. The time that it was dated back is part of its life. */
export function lifeOfFound({ notBefore, notAfter }: Pick<HeldIdentity, 'notBefore' | 'notAfter'>, wallNow: number): Life {
  return { spanMs: notAfter - notBefore, leftMs: Math.max(0, notAfter - wallNow) };
}

/** How long to wait before the renewal (ms). */
export function untilRenewal({ spanMs, leftMs }: Life, random: () => number): number {
  const share = firstShare + (lastShare - firstShare) * random();
  const wait = leftMs - spanMs * (1 - share);
  return wait > 0 ? wait : random() * Math.min(spreadMs, leftMs / 20);
}

/** How long to wait after so many failures (ms): full jitter, and never so long that the rest of the life is slept away. */
export function untilRetry(failures: number, leftMs: number, random: () => number): number {
  const most = Math.min(60_000, Math.max(2_000, leftMs / 10));
  return Math.max(20, random() * Math.min(most, 200 * 2 ** Math.min(failures, 16)));
}
