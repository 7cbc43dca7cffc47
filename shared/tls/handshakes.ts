import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';

/**
 * Handshakes of connections that another server has accepted, and what is known of each. A client that ends its side before hands are shaken is
 * gone; one that does so afterwards may still wait for what it asked.
 */
export class Handshakes<T> {
  readonly #known = new WeakMap<Socket, T>();
  /** By the addresses and ports of both ends: a client may use its port towards two addresses of ours. For versions of Node that do not tell what a socket of TLS was made of. */
  readonly #knownByEnds = new Map<string, T>();

  /** Has TLS begin on a connection. */
  begin(server: Server, raw: Socket, known: T): void {
    this.#known.set(raw, known);
    if (raw.remotePort !== undefined) {
      const ends = endsOf(raw);
      this.#knownByEnds.set(ends, known);
      raw.once('close', () => this.#knownByEnds.delete(ends));
    }
    raw.allowHalfOpen = false;
    server.emit('connection', raw);
  }

  /** What is known of the connection below a socket of TLS, also when it is closed. The socket is not asked for its ends: one that was reset has none any more. */
  of(socket: Socket): T | undefined {
    const raw = below(socket);
    return raw === undefined ? this.#knownByEnds.get(endsOf(socket)) : this.#known.get(raw);
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
  return (socket as unknown as { readonly _parent?: Socket })._parent;
}
