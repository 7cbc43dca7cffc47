import { stack, type Layer, type Service } from '../../shared/http/service.js';
import type { DeliveryLayers } from '../../shared/policy/delivery.js';
import { maxForwards } from '../../shared/intermediary/max-forwards.js';

/*
 * What a request from a caller passes on its way to the application. The last part of the way, from the
 * choice of an endpoint to its connection, is shared/upstream/endpoint-stack.ts.
 */

export interface ListenerLayers {
  readonly accessLog: Layer | undefined;
  readonly metrics: Layer;
  readonly clientCert: Layer;
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
      layers.clientCert, // before anything reads who called; the connection has proven it, or nobody has
      layers.tracing, // before anything can fail, so that a refusal has a request id too
      layers.rescue, // turns what is thrown below into an answer
      layers.overload, // a full proxy says so before it spends anything on the request
      maxForwards, // whether the request goes any further at all
      layers.via, // what goes further says that it came through here
    ],
    route,
  );
}

export interface RouteLayers extends Pick<DeliveryLayers, 'grpc' | 'concurrency' | 'deadline' | 'announce'> {
  readonly jwt: Layer | undefined;
  readonly authorization: Layer | undefined;
  readonly rateLimit: Layer | undefined;
  readonly fault: Layer | undefined;
  readonly headers: Layer | undefined;
}

export function routeStack(layers: RouteLayers, app: Service): Service {
  return stack(
    [
      layers.grpc, // the deadline of a call covers all of it, and its status is known to nobody further out
      layers.jwt, // who is it? before what asks whether it may, and before the quota, which may be counted by subject
      layers.authorization, // may it? before the quota: what is refused anyway must use up nobody's
      layers.rateLimit, // a refused request must not cost the application anything
      layers.fault, // breaks what was let in, and nobody else's; what it holds, the application has not had yet
      layers.concurrency, // more than the application can work on is shed before it waits for anything
      layers.headers, // what the application gets, and what its callers do
      layers.deadline, // the application gets no longer than its callers were told
      layers.announce, // and is told how long that is
    ],
    app,
  );
}
