import { stack, type Layer, type Service } from '../../shared/http/service.js';
import { maxForwards } from '../../shared/intermediary/max-forwards.js';

/*
 * What a call of the application passes on its way to another service. The last part of the way, from the
 * choice of an endpoint to its connection, is shared/upstream/endpoint-stack.ts.
 */

export interface ListenerLayers {
  readonly accessLog: Layer | undefined;
  readonly metrics: Layer;
  readonly tracing: Layer;
  readonly rescue: Layer;
  readonly overload: Layer;
  readonly via: Layer;
}

export function listenerStack(layers: ListenerLayers, route: Service): Service {
  return stack(
    [
      layers.accessLog, // outermost: the log sees every outcome, also what the layers below refuse
      layers.metrics, // likewise
      layers.tracing, // before anything can fail, so that a refusal has a request id too
      layers.rescue, // turns what is thrown below into an answer
      layers.overload, // a full proxy says so before it spends anything on the request
      maxForwards, // whether the request goes any further at all
      layers.via, // what goes further says that it came through here
    ],
    route,
  );
}

export interface RouteLayers {
  readonly grpc: Layer | undefined;
  readonly deadline: Layer;
  readonly retry: Layer | undefined;
}

export function routeStack(layers: RouteLayers, balance: Service): Service {
  return stack(
    [
      layers.grpc, // the deadline of a call covers all of it, and its status is known to nobody further out
      layers.deadline, // covers all attempts and the waiting between them
      layers.retry, // each attempt below is a new choice of endpoint
    ],
    balance,
  );
}
