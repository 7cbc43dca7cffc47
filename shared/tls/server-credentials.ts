import { hkdfSync } from 'node:crypto';
import { createSecureContext, type SecureContext, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import type { Peer } from '../http/exchange.js';
import { parseSpiffeId } from '../identity/spiffe.js';
import { uriName } from '../identity/x509-name.js';
import type { ServerTlsConfig } from './config.js';
import type { PemStore } from './pem-store.js';

/**
 * What a listener shows its clients, and asks of them; exchanged while it listens, with no connection dropped.
 *
 * Session tickets outlive an exchange of certificates, so that clients go on resuming. Their keys are made of a secret and of the
 * authorities that clients are verified against: a change of these makes new ones, so that nobody gets in on an old verification.
 */
export class ServerCredentials {
  #contexts: ReadonlyMap<string, SecureContext> = new Map();
  #options: TlsOptions;

  /** `onReload` hears of each exchange: of its error if the new files cannot be used, and the old ones stay. Throws if the first ones cannot. */
  constructor(
    private readonly config: ServerTlsConfig,
    private readonly pems: PemStore,
    private readonly ticketSecret: Uint8Array,
    private readonly onReload: (error: Error | undefined) => void,
  ) {
    this.#options = this.#load();
  }

  /** Whether a client got as far as it did although its certificate is wrong: where none is required, Node only takes note. */
  refuses(socket: TLSSocket): boolean {
    return this.config.clientAuth !== undefined && !socket.authorized && Object.keys(socket.getPeerCertificate()).length > 0;
  }

  /** The workload that a client is, if its certificate is verified and names one. Whose names are believed is up to whoever chose `clientAuth.ca`. */
  peerOf(socket: TLSSocket): Peer | undefined {
    if (this.config.clientAuth === undefined || !socket.authorized) return undefined;
    const id = uriName({ subjectAltName: socket.getPeerX509Certificate()?.subjectAltName });
    const parsed = id === undefined ? undefined : parseSpiffeId(id);
    return parsed && { ...parsed, id: id! };
  }

  /** For `tls.createServer`. */
  get options(): TlsOptions {
    return this.#options;
  }

  /** Keeps a server's certificates up to date. */
  serve(server: Server): void {
    this.pems.onChange(() => {
      try {
        this.#options = this.#load();
        server.setSecureContext(this.#options);
        this.onReload(undefined);
      } catch (error) {
        this.onReload(error as Error);
      }
    });
  }

  #load(): TlsOptions {
    const { config, pems } = this;
    const ca = config.clientAuth && pems.read(config.clientAuth.ca);
    const options: TlsOptions = {
      cert: pems.read(config.cert),
      key: pems.read(config.key),
      minVersion: config.minVersion,
      ticketKeys: Buffer.from(hkdfSync('sha256', this.ticketSecret, ca ?? '', 'session tickets', 48)),
      sessionIdContext: 'listener',
      ALPNProtocols: ['http/1.1'],
      SNICallback: (name, done) => done(null, this.#contextFor(name.toLowerCase())),
      ...(config.clientAuth && { ca: ca!, requestCert: true, rejectUnauthorized: config.clientAuth.required }),
    };
    const contexts = new Map<string, SecureContext>();
    for (const { hosts, cert, key } of config.certificates) {
      const context = createSecureContext({ ...options, cert: pems.read(cert), key: pems.read(key) });
      for (const host of hosts) contexts.set(host.toLowerCase(), context);
    }
    createSecureContext(options);
    this.#contexts = contexts;
    return options;
  }

  /** Undefined is the default certificate. */
  #contextFor(name: string): SecureContext | undefined {
    return this.#contexts.get(name) ?? this.#contexts.get(`*${name.slice(Math.max(0, name.indexOf('.')))}`);
  }
}
