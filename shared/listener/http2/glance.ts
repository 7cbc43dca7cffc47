import { constants, type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { hasReset } from '../../http/has-reset.js';

/** How often a client that may have left without anybody hearing of it is looked after (ms). */
const glanceMs = 250;

/** When to look next (clock reading, ms): one point in time for all connections, for which the sweep need look only once. */
export function nextGlance(now: number): number {
  return (Math.floor(now / glanceMs) + 1) * glanceMs;
}

/**
 * Ends a session whose client has reset its connection; returns when to look next. Streams end with CANCEL: without a code of their own, those whose
 * answer was handed over would count as taken.
 */
export function glance(session: ServerHttp2Session, socket: Socket, now: number): number {
  if (!hasReset(socket)) return nextGlance(now);
  session.destroy(new Error('the connection was reset'), constants.NGHTTP2_CANCEL);
  socket.destroy();
  return Infinity;
}
