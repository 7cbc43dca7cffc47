import type { Socket } from 'node:net';
import { hasReset } from '../http/has-reset.js';
import { plainAddress } from './network-list.js';

/**
 * The address of whoever is at the other end of a connection; '' on a Unix domain socket, whose clients have none. Undefined where the connection was reset before
 * anybody asked: what was sent on it can be read still, but nobody knows any more whose it is. A socket remembers an address that it has told.
 */
export function peerAddress(socket: Socket): string | undefined {
  const { remoteAddress } = socket;
  if (remoteAddress !== undefined) return plainAddress(remoteAddress);
  return hasReset(socket) ? undefined : '';
}
