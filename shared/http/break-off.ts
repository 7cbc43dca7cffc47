import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Ends a connection so that its peer sees that it was broken off: with a reset, where there is such a thing. TLS says at its end whether
 * it was one; what lies under it, where that is known, is reset like any other.
 */
export function breakOff(raw: Socket): void {
  // A Unix domain socket has no reset.
  if (raw.remoteFamily !== undefined && !(raw instanceof TLSSocket)) raw.resetAndDestroy();
  // That waits for a peer that takes nothing, for ever, unless it is told not to.
  raw.destroy();
}
