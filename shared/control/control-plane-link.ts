import { Agent, fetch as undiciFetch, type RequestInit, type Response } from 'undici';
import type { Logger } from '../telemetry/logger.js';
import type { PemStore } from '../tls/pem-store.js';

export interface LinkOptions {
  /** Base addresses of control planes that are interchangeable. */
  readonly urls: readonly string[];
  readonly token?: string | undefined;
  /** Path of the PEM file with the authorities that the control planes' certificates are from; without it the system's. */
  readonly ca?: string | undefined;
  /** Paths of the proxy's own certificate and key, shown when there are any yet. */
  readonly client?: { readonly cert: string; readonly key: string } | undefined;
  readonly pems: PemStore;
  readonly random: () => number;
  readonly logger: Logger;
}

/**
 * The way to the control plane: which one of them, and over what.
 *
 * A proxy begins with any, so that they share the load, stays with it while it answers, and goes on to the next when it does not. The
 * stream, the answers and the registration use the same one. Over https, files are looked at again when they change; the connection
 * that is open stays.
 */
export class ControlPlaneLink {
  #index: number;
  #agent: Agent | undefined;
  #agentVersion = -1;

  constructor(private readonly options: LinkOptions) {
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
  fetch(url: string, path: string, init: RequestInit): Promise<Response> {
    const { token } = this.options;
    const headers = { ...(init.headers as Record<string, string> | undefined), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    return undiciFetch(url + path, { ...init, headers, redirect: 'error', dispatcher: this.#dispatcher() });
  }

  async close(): Promise<void> {
    await this.#agent?.destroy();
  }

  #dispatcher(): Agent {
    const { pems, ca, client, logger } = this.options;
    if (this.#agent !== undefined && this.#agentVersion === pems.version) return this.#agent;
    const own = client === undefined ? undefined : this.#ownCredentials(client);
    let authorities: Buffer | undefined;
    try {
      authorities = ca === undefined ? undefined : pems.read(ca);
    } catch (error) {
      logger.error({ err: error, ca }, 'the authorities of the control plane cannot be read');
      throw error;
    }
    const before = this.#agent;
    // Nothing is idle for long: what is sent goes out over connections of its own beside the stream.
    this.#agent = new Agent({ connect: { timeout: 2_000, ...(authorities && { ca: authorities }), ...own }, bodyTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 10_000 });
    // Its stream ends when it ends.
    void before?.close().catch(() => {});
    // Credentials that are not there yet are looked for each time.
    this.#agentVersion = client !== undefined && own === undefined ? -1 : pems.version;
    return this.#agent;
  }

  #ownCredentials({ cert, key }: { readonly cert: string; readonly key: string }): { cert: Buffer; key: Buffer } | undefined {
    try {
      return { cert: this.options.pems.read(cert), key: this.options.pems.read(key) };
    } catch {
      return undefined;
    }
  }
}
