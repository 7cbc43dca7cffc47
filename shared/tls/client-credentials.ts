import { isIP } from 'node:net';
import { checkServerIdentity, connect, createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket } from 'node:tls';
import type { ClientTlsConfig } from './config.js';
import type { PemFiles, PemStore } from './pem-store.js';
import { withoutDot } from './server-name.js';
import { readAuthorities, readPair } from './usable.js';

/** How TLS is spoken to an endpoint: what is shown to it, and what it must prove before anything is sent. */
export interface TlsClient {
  /** Of what sessions are bound to: one that was made under another version must not be resumed. */
  readonly version: number;
  /** Opens a connection to `host`, or on `options.socket`; HTTP/1.1 is spoken on it, unless `options` say otherwise. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket;
}

interface ClientCredentialsDependencies {
  readonly pems: PemStore;
  /** Hears of each exchange of its files: of its error if the new ones cannot be used, and the old ones stay. */
  readonly onReload: (error: Error | undefined) => void;
}

/** What is shown to an upstream and asked of it. Connections that are made after a change of the files use the new ones. */
export class ClientCredentials implements TlsClient {
  /** Goes up with each exchange of the files. */
  version = 0;
  readonly #files: PemFiles;
  #context: SecureContext;

  /** Throws if the files cannot be used. */
  constructor(
    private readonly config: ClientTlsConfig,
    private readonly dependencies: ClientCredentialsDependencies,
  ) {
    const { ca, cert, key } = config;
    this.#files = dependencies.pems.open([ca, cert, key].filter((path) => path !== undefined), (lost) => this.#reload(lost));
    try {
      this.#context = this.#load();
    } catch (error) {
      this.#files.close();
      throw error;
    }
  }

  /** The certificate is verified, for `serverName` or else for the host. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket {
    return connect({ ...this.#optionsFor(host), ...options });
  }

  /** Stays as it is from here on. */
  close(): void {
    this.#files.close();
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

  #reload(lost: Error | undefined): void {
    try {
      if (lost !== undefined) throw lost;
      this.#context = this.#load();
    } catch (error) {
      // The last good ones stay; the files may be half exchanged.
      this.dependencies.onReload(error as Error);
      return;
    }
    this.version++;
    this.dependencies.onReload(undefined);
  }

  #load(): SecureContext {
    const { ca, cert, key, minVersion } = this.config;
    return createSecureContext({
      minVersion,
      ...(ca !== undefined && { ca: readAuthorities(this.#files, ca) }),
      ...(cert !== undefined && key !== undefined && readPair(this.#files, { cert, key })),
    });
  }
}
