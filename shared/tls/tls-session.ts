import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import type { TlsClient } from './client-credentials.js';

/**
 * The last TLS session with one server, resumed for as long as that is as good as a handshake: while the credentials are those that it
 * was made with, and the certificate that was verified for it is valid.
 */
export class TlsSession {
  #last: { readonly ticket: Buffer; readonly version: number; readonly expiresAt: number } | undefined;

  constructor(
    private readonly client: TlsClient,
    private readonly clock: Clock,
  ) {}

  /** Opens a connection as the client does. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket {
    const { version } = this.client;
    const last = this.#last;
    const session = last?.version === version && this.clock.wallNow() < last.expiresAt ? last.ticket : undefined;
    const socket = this.client.connect(session === undefined ? options : { ...options, session }, host);
    socket.on('session', (ticket) => {
      const expiresAt = Date.parse(socket.getPeerX509Certificate()?.validTo ?? '');
      this.#last = { ticket, version, expiresAt };
    });
    return socket;
  }
}
