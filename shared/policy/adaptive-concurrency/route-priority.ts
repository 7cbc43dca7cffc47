import { priorityField } from '../../http/mesh-fields.js';
import type { Layer } from '../../http/service.js';

/** Gives all requests of a route the same priority, here and in the proxies behind, whatever their callers say. */
export function routePriority(level: string): Layer {
  return (next) =>
    function routePriority(request, exchange) {
      exchange.priority = level;
      request.headers.set(priorityField, level);
      return next(request, exchange);
    };
}
