import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';

/**
 * Handshakes of connections that another server has accepted, and what is known of each. A client that ends its side before hands are shaken is
 * gone; one that does so afterwards may still wait for what it asked.
 */
export class Handshakes<T> {
  /** By the addresses and ports of both ends (a client may use its port towards two addresses of ours) or, where clients have none, by their sockets. */
  readonly #known = new Map<unknown, T>();

  /** Has TLS begin on a connection. */
  begin(server: Server, raw: Socket, known: T): void {
    const key = raw.remotePort === undefined ? raw : endsOf(raw);
    this.#known.set(key, known);
    raw.once('close', () => this.#known.delete(key));
    raw.allowHalfOpen = false;
    server.emit('connection', raw);
  }

  /** What is known of the connection below a socket of TLS; undefined where that is closed. */
  of(socket: Socket): T | undefined {
    return this.#known.get(socket.remotePort === undefined ? below(socket) : endsOf(socket));
  }
}

/** Has a server of TLS keep its side of connections open when clients end theirs, once hands are shaken. */
export function keepHalfOpen(server: Server): void {
  server.prependListener('secureConnection', (socket: TLSSocket) => (socket.allowHalfOpen = true));
}

function endsOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** The socket that one of TLS was made of. Node does not document where it keeps that. */
function below(socket: Socket): Socket | undefined {
  return (socket as unknown as { readonly _handle?: { readonly _parentWrap?: Socket } | null })._handle?._parentWrap;
}
