import type { Socket } from 'node:net';

/**
 * Ends a connection so that its peer sees that it was broken off: with a reset, where there is such a thing. `raw` is what lies under
 * TLS, if that is spoken.
 */
export function breakOff(raw: Socket): void {
  // A Unix domain socket has no reset.
  if (raw.remoteFamily === undefined) raw.destroy();
  else raw.resetAndDestroy();
}
