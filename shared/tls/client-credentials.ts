import { isIP } from 'node:net';
import { checkServerIdentity, connect, createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket } from 'node:tls';
import type { ClientTlsConfig } from './config.js';
import type { PemStore } from './pem-store.js';

/** How TLS is spoken to an endpoint: what is shown to it, and what it must prove before anything is sent. */
export interface TlsClient {
  /** Of what sessions are bound to: one that was made under another version must not be resumed. */
  readonly version: number;
  /** Opens a connection to `host`, or on `options.socket`; HTTP/1.1 is spoken on it, unless `options` say otherwise. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket;
}

/** What is shown to an upstream and asked of it. Connections that are made after a change of the files use the new ones. */
export class ClientCredentials implements TlsClient {
  #context: SecureContext;
  #version: number;

  /** Throws if the files cannot be used. */
  constructor(
    private readonly config: ClientTlsConfig,
    private readonly pems: PemStore,
  ) {
    this.#version = pems.version;
    this.#context = this.#load();
  }

  get version(): number {
    this.#refresh();
    return this.#version;
  }

  /** The certificate is verified, for `serverName` or else for the host. */
  connect(options: ConnectionOptions, host: string | undefined): TLSSocket {
    return connect({ ...this.#optionsFor(host), ...options });
  }

  #optionsFor(host: string | undefined): ConnectionOptions {
    this.#refresh();
    const name = this.config.serverName ?? host ?? 'localhost';
    // An address is no server name (RFC 6066 section 3); the certificate must be for it all the same.
    return {
      secureContext: this.#context,
      ...(isIP(name) === 0 && { servername: name }),
      rejectUnauthorized: true,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ALPNProtocols: ['http/1.1'],
    };
  }

  #refresh(): void {
    if (this.#version === this.pems.version) return;
    this.#version = this.pems.version;
    try {
      this.#context = this.#load();
    } catch {
      // The last good ones stay; the files may be half exchanged.
    }
  }

  #load(): SecureContext {
    const { ca, cert, key, minVersion } = this.config;
    return createSecureContext({
      minVersion,
      ...(ca !== undefined && { ca: this.pems.read(ca) }),
      ...(cert !== undefined && { cert: this.pems.read(cert) }),
      ...(key !== undefined && { key: this.pems.read(key) }),
    });
  }
}
