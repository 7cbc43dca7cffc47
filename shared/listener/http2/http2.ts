import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Peer } from '../../http/exchange.js';
import type { Connection } from '../connection.js';
import { Http1Connection } from '../http1/http1-connection.js';
import type { Http1Listener } from '../http1-listener.js';
import { Http2Connection } from './http2-connection.js';
import { UndecidedConnection } from './undecided-connection.js';

/** What a listener needs to speak HTTP/2 beside HTTP/1.x. */
export interface Http2 {
  /** What is offered in the TLS handshake. */
  readonly alpn: { readonly ALPNProtocols: string[] };
  /**
   * Takes an accepted connection. With TLS its protocol is known; without, the first bytes tell, and `replace` hears of the
   * connection that takes the place of the one returned.
   */
  accept(socket: Socket, clientAddress: string, listener: Http1Listener, peer: Peer | undefined, replace: (decided: Connection) => void): Connection;
}

export const http2: Http2 = {
  alpn: { ALPNProtocols: ['h2', 'http/1.1'] },
  accept(socket, clientAddress, listener, peer, replace) {
    const { clock, limits, credentials } = listener.options;
    const open = (isHttp2: boolean): Connection => (isHttp2 ? new Http2Connection(socket, clientAddress, listener, peer) : new Http1Connection(socket, clientAddress, listener, peer));
    if (credentials !== undefined || peer !== undefined) return open((socket as Partial<TLSSocket>).alpnProtocol === 'h2');
    return new UndecidedConnection(socket, clock.now() + limits.headTimeout, (isHttp2) => {
      replace(open(isHttp2));
      // It was paused when its bytes were put back; a session of HTTP/2 reads by itself.
      if (!isHttp2) socket.resume();
    });
  },
};
