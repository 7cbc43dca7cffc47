import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';

/**
 * Hands a connection that another server has accepted to one of TLS. A client that ends its side before hands are shaken is gone; one that
 * does so afterwards may still wait for what it asked.
 */
export function shakeHands(server: Server, raw: Socket): void {
  raw.allowHalfOpen = false;
  server.emit('connection', raw);
}

/** Has a server of TLS keep its side of connections open when clients end theirs, once hands are shaken. */
export function keepHalfOpen(server: Server): void {
  server.prependListener('secureConnection', (socket: TLSSocket) => (socket.allowHalfOpen = true));
}
