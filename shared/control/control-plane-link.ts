import type { Clock } from '../clock/clock.js';
import { HttpClient, type Answered, type Asked } from '../http-client/http-client.js';
import type { Logger } from '../telemetry/logger.js';
import type { PemFiles, PemStore } from '../tls/pem-store.js';
import { TokenFile } from './token-file.js';

interface LinkOptions {
  /** Base addresses of control planes that are interchangeable. */
  readonly urls: readonly string[];
  /** Path of the file with the bearer token that is shown. */
  readonly tokenFile?: string | undefined;
  /** Path of the PEM file with the authorities that the control planes' certificates are from; without it the system's. */
  readonly ca?: string | undefined;
  /** Paths of the proxy's own certificate and key, shown when there are any yet. */
  readonly client?: { readonly cert: string; readonly key: string } | undefined;
  readonly pems: PemStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/**
 * The way to the control plane: which one of them, and over what.
 *
 * A proxy begins with any, so that they share the load, stays with it while it answers, and goes on to the next when it does not. The
 * stream, the answers and the registration use the same one. Each request shows the token, and over https each connection is made with the
 * files, as they are then; connections that are open stay.
 */
export class ControlPlaneLink {
  readonly #client: HttpClient;
  readonly #pems: PemFiles;
  readonly #token: TokenFile | undefined;
  #index: number;

  constructor(private readonly options: LinkOptions) {
    const { ca, client, tokenFile, pems, logger } = options;
    this.#client = new HttpClient(options.clock);
    this.#pems = pems.open([ca, client?.cert, client?.key].filter((path) => path !== undefined));
    this.#token = tokenFile === undefined ? undefined : new TokenFile(tokenFile, pems, logger);
    this.#index = Math.floor(options.random() * options.urls.length);
  }

  /** Base address of the one in use. */
  get url(): string {
    return this.options.urls[this.#index]!.replace(/\/$/, '');
  }

  /** The one at this address did not do: the next is in use from now on, unless it is already. Returns whether there is another. */
  failed(url: string): boolean {
    if (url === this.url) this.#index = (this.#index + 1) % this.options.urls.length;
    return this.options.urls.length > 1;
  }

  /** Rejects when there is no connection; any answer is one. */
  async ask(url: string, path: string, asked: Omit<Asked, 'tls'>): Promise<Answered> {
    const headers = { ...asked.headers, ...(this.#token && { authorization: `Bearer ${this.#token.token}` }) };
    return this.#client.ask(url + path, { ...asked, headers, tls: this.#credentials() });
  }

  close(): void {
    this.#client.close();
    this.#pems.close();
    this.#token?.close();
  }

  #credentials(): NonNullable<Asked['tls']> {
    const { ca, client, logger } = this.options;
    let authorities: Buffer | undefined;
    try {
      authorities = ca === undefined ? undefined : this.#pems.read(ca);
    } catch (error) {
      logger.error({ err: error, ca }, 'the authorities of the control plane cannot be read');
      throw error;
    }
    return { ...(authorities && { ca: authorities }), ...(client && this.#ownCredentials(client)) };
  }

  /** Credentials that are not there yet are looked for each time. */
  #ownCredentials({ cert, key }: { readonly cert: string; readonly key: string }): { cert: Buffer; key: Buffer } | undefined {
    try {
      return { cert: this.#pems.read(cert), key: this.#pems.read(key) };
    } catch {
      return undefined;
    }
  }
}
