import { isIP } from 'node:net';
import { checkServerIdentity, connect, createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket } from 'node:tls';
import type { ClientTlsConfig } from './config.js';
import { LastGood } from './last-good.js';
import type { PemStore } from './pem-store.js';
import { withoutDot } from './server-name.js';
import { readAuthorities, readPair, type Pair } from './usable.js';

/** How TLS is spoken to an endpoint: what is shown to it, and what it must prove before anything is sent. */
export interface TlsClient {
  /** Of what sessions are bound to: one that was made under another version must not be resumed. */
  readonly version: number;
  /** Opens a connection to `host`, or on `options.socket`; HTTP/1.1 is spoken on it, unless `options` say otherwise. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket;
}

interface ClientCredentialsDependencies {
  readonly pems: PemStore;
  /** Hears of each exchange of its pair, or of the authorities: of its error if the new ones cannot be used, and the old ones stay. */
  readonly onReload: (error: Error | undefined) => void;
}

/** What is shown to an upstream and asked of it. Connections that are made after a change of the files use the new ones. The pair and the authorities are exchanged each on its own. */
export class ClientCredentials implements TlsClient {
  /** Goes up with each exchange of the files. */
  version = 0;
  readonly #authorities: LastGood<Buffer> | undefined;
  readonly #pair: LastGood<Pair> | undefined;
  #context: SecureContext;

  /** Throws if the files cannot be used. */
  constructor(
    private readonly config: ClientTlsConfig,
    private readonly dependencies: ClientCredentialsDependencies,
  ) {
    const { pems } = dependencies;
    const { ca, cert, key } = config;
    this.#authorities = ca === undefined ? undefined : new LastGood(pems, [ca], (files) => readAuthorities(files, ca), this.#onReload);
    try {
      this.#pair = cert === undefined || key === undefined ? undefined : new LastGood(pems, [cert, key], (files) => readPair(files, { cert, key }), this.#onReload);
    } catch (error) {
      this.#authorities?.close();
      throw error;
    }
    this.#context = this.#build();
  }

  /** The certificate is verified, for `serverName` or else for the host. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket {
    return connect({ ...this.#optionsFor(host), ...options });
  }

  /** Stays as it is from here on. */
  close(): void {
    this.#authorities?.close();
    this.#pair?.close();
  }

  #optionsFor(host: string | undefined): ConnectionOptions {
    const name = withoutDot(this.config.serverName ?? host ?? 'localhost');
    // An address is no server name (RFC 6066 section 3); the certificate must be for it all the same.
    return {
      secureContext: this.#context,
      ...(isIP(name) === 0 && { servername: name }),
      rejectUnauthorized: true,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ALPNProtocols: ['http/1.1'],
    };
  }

  readonly #onReload = (error: Error | undefined): void => {
    if (error === undefined) {
      this.#context = this.#build();
      this.version++;
    }
    this.dependencies.onReload(error);
  };

  #build(): SecureContext {
    return createSecureContext({ minVersion: this.config.minVersion, ...(this.#authorities && { ca: this.#authorities.value }), ...this.#pair?.value });
  }
}
