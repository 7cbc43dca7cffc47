import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Ends a connection so that its peer sees that it was broken off: with a reset, where there is such a thing. TLS says at its end whether
 * it was one; what lies under it, where that is known, is reset like any other. `over` is what is spoken on `raw`, if that is not itself.
 */
export function breakOff(raw: Socket, over = raw): void {
  // A Unix domain socket has no reset.
  if (raw.remoteFamily === undefined || raw instanceof TLSSocket) raw.destroy();
  else if (!isEnding(over)) reset(raw);
  // What is to end is not reset (uv_tcp_close_reset, EINVAL), and Node would take it for closed and keep its descriptor for ever. The loop's next turn has done
  // it, unless TLS waits for a peer that takes nothing: then all that was to be said is with the kernel, and without the end of TLS it is no whole.
  else setImmediate(() => (over === raw || !isEnding(over) ? reset(raw) : raw.destroy()));
}

function reset(raw: Socket): void {
  raw.resetAndDestroy();
  // That waits for a peer that takes nothing, for ever, unless it is told not to.
  raw.destroy();
}

/** Whether the end of a side has gone to the kernel and is not done. */
function isEnding({ writableEnded, writableFinished, writableLength }: Socket): boolean {
  return writableEnded && !writableFinished && writableLength === 0;
}
