import type { Caller } from '../caller.js';
import { PeerFailure, propagatedFields, timeoutMs } from '../peer.js';
import { CallFailure, PricingClient, type CallOptions } from './client.js';
import type { Price } from './definition.js';

/** What one's own caller is told, by the status of the call. */
const statusOf: Readonly<Record<string, number>> = { DEADLINE_EXCEEDED: 504, UNAVAILABLE: 503 };

/** The pricing service, as an application sees it: addresses, or, with `HTTP_PROXY`, its name, asked of the sidecar. */
export class PricingPeer {
  readonly #client: PricingClient;

  constructor({ HTTP_PROXY, PRICING_URLS }: NodeJS.ProcessEnv) {
    const urls = HTTP_PROXY ?? PRICING_URLS;
    if (urls === undefined) throw new Error('neither HTTP_PROXY nor PRICING_URLS says where pricing is');
    this.#client = new PricingClient(urls.split(',').map((url) => new URL(url).host), HTTP_PROXY === undefined ? undefined : 'pricing');
  }

  /** Rejects with a `PeerFailure` unless the call ends with OK. */
  quote(sku: string, caller: Caller): Promise<Price> {
    return this.#answered(this.#client.quote(sku, optionsFor(caller)));
  }

  scale(sku: string, steps: number, caller: Caller): Promise<Price[]> {
    return this.#answered(this.#client.scale(sku, steps, optionsFor(caller)));
  }

  async #answered<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw error instanceof CallFailure ? new PeerFailure(statusOf[error.code] ?? 502) : error;
    }
  }
}

function optionsFor(caller: Caller): CallOptions {
  return { fields: propagatedFields(caller), timeoutMs, gone: caller.gone };
}
