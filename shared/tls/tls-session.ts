import type { ConnectionOptions, PeerCertificate, TLSSocket } from 'node:tls';
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
    const offered = last?.version === version && this.clock.wallNow() < last.expiresAt ? last : undefined;
    const socket = this.client.connect(offered === undefined ? options : { ...options, session: offered.ticket }, host);
    // Of a client's socket, getPeerX509Certificate takes the certificate out of the chain (Node 20): it answers once. A session that is resumed shows no certificate, nor does one for which a ticket comes later (TLS 1.3); in TLS 1.2 it comes before.
    let expiresAt: number | undefined;
    const expiry = (): number => (expiresAt ??= socket.isSessionReused() && offered !== undefined ? offered.expiresAt : Date.parse((socket.getPeerCertificate() as Partial<PeerCertificate>).valid_to ?? ''));
    socket.once('secureConnect', expiry);
    socket.on('session', (ticket) => {
      this.#last = { ticket, version, expiresAt: expiry() };
    });
    return socket;
  }
}
