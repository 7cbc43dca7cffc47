import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import type { Socket } from 'node:net';
import type { MtlsMode } from '../config/mtls.js';
import type { Peer } from '../http/exchange.js';
import type { MeshIdentity } from '../identity/mesh-identity.js';
import type { Refusal } from '../identity/verdict.js';

/** How a listener takes part in the mesh. */
export interface MeshListening {
  readonly identity: MeshIdentity;
  /** What is done with plaintext; looked up for each connection, so that it can be exchanged. */
  readonly mode: () => MtlsMode;
  /** Hears of every caller that was kept out. */
  readonly onRefusal: (client: string, refusal: Refusal) => void;
}

/** Of a refusal of plaintext: nothing was shown. */
export const plaintextRefusal: Refusal = { reason: 'plaintext', detail: 'the caller spoke no TLS', name: undefined };

/**
 * The TLS side of a listener of the mesh. Sockets are handed to it once they are known to begin with a handshake; `onPeer` hears of
 * those whose certificate is good, with whom it is of, and nobody of the others.
 */
export function meshTlsServer({ identity, onRefusal }: MeshListening, options: TlsOptions, addressOf: (socket: Socket) => string, onPeer: (socket: TLSSocket, peer: Peer) => void): TlsServer {
  const server = createTlsServer({ ...identity.serverOptions, ...options }, (socket) => {
    // Followed by `close`, where it is dealt with.
    socket.on('error', () => {});
    const verdict = identity.judge(socket);
    if ('peer' in verdict) {
      onPeer(socket, verdict.peer);
      return;
    }
    onRefusal(addressOf(socket), verdict.refusal);
    socket.destroy();
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    onRefusal(addressOf(socket), { reason: 'handshake', detail: error.code ?? error.message, name: undefined });
    socket.destroy();
  });
  identity.serve(server);
  return server;
}
