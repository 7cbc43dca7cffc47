import type { Exchange } from './exchange.js';
import type { HttpRequest, HttpResponse } from './message.js';

/** Answers a request, or rejects with a `ProxyError`. */
export type Service = (request: HttpRequest, exchange: Exchange) => Promise<HttpResponse>;

/** Something that stands in front of a service and is itself one. */
export type Layer = (next: Service) => Service;

/** Composes layers, listed in the order in which a request meets them. */
export function stack(layers: readonly (Layer | undefined)[], innermost: Service): Service {
  return layers.reduceRight<Service>((next, layer) => (layer === undefined ? next : layer(next)), innermost);
}
