import type { Socket } from 'node:net';

interface Handle {
  /** 0, or the code of an error. Of TLS that is not on TCP it is there and returns nothing. */
  readonly getpeername?: (into: object) => number | undefined;
}

/**
 * Whether the peer has reset a connection. One that is paused is not watched by libuv, and its peer may be long gone; of one that is read,
 * libuv may call the reset an end, if bytes came with it. The operating system knows: a connection that was reset has no peer any more (getpeername(2), ENOTCONN).
 * False where it cannot be asked, and where we have ended our side: a connection that both sides have ended has no peer either. A FIN
 * does not show: it waits behind what was not read.
 */
export function hasReset(socket: Socket): boolean {
  if (socket.writableEnded) return false;
  const { _handle: handle } = socket as unknown as { readonly _handle?: Handle | null };
  return typeof handle?.getpeername === 'function' && (handle.getpeername({}) ?? 0) !== 0;
}
