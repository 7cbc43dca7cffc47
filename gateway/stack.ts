import { stack, type Layer, type Service } from '../shared/http/service.js';
import type { DeliveryLayers } from '../shared/policy/delivery.js';
import { maxForwards } from '../shared/intermediary/max-forwards.js';
import type { ShapingLayers } from '../shared/routing/destination.js';

/*
 * The order in which a request meets the gateway's layers. The last part of the way, from the choice of an
 * endpoint to its connection, is the same in both proxies: shared/upstream/endpoint-stack.ts.
 */

export interface ListenerLayers {
  readonly accessLog: Layer | undefined;
  readonly metrics: Layer;
  readonly tracing: Layer;
  readonly rescue: Layer;
  readonly overload: Layer;
  readonly via: Layer;
  readonly forwarded: Layer;
}

/** What every request passes, up to the choice of its route. */
export function listenerStack(layers: ListenerLayers, route: Service): Service {
  return stack(
    [
      layers.accessLog, // outermost: the log sees every outcome, also what the layers below refuse
      layers.metrics, // likewise
      layers.forwarded, // before anything reads the client's address or an identity field
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
  readonly jwt: Layer | undefined;
  readonly authorization: Layer | undefined;
  readonly rateLimit: Layer | undefined;
  readonly fault: Layer | undefined;
}

/** What a request of one route passes, up to the choice of its upstream: one, one side of a split, or an answer of our own. */
export function routeStack(layers: RouteLayers, destination: Service): Service {
  return stack(
    [
      layers.jwt, // who is it? before what asks whether it may, and before the quota, which may be counted by subject
      layers.authorization, // may it? before the quota: what is refused anyway must use up nobody's, and its own answer is quicker than counting
      layers.rateLimit, // a refused request must not cost the upstream anything
      layers.fault, // breaks what was let in, and nobody else's; before the deadline and the retries, which would hide it from the caller whom it is for
    ],
    destination, // a split chooses here: once, whatever is retried below, and by what the client sent, before anything is changed
  );
}

/** What a request passes on its way to one upstream, up to the choice of its endpoint. */
export function sideStack(layers: ShapingLayers & DeliveryLayers, balance: Service): Service {
  return stack(
    [
      layers.grpc, // the deadline of a call covers all of it, and its status is known to nobody further out
      layers.priority, // how important is it? before what sheds the less important
      layers.concurrency, // more than the upstream can work on is shed before anything is done for it
      layers.headers, // before the copy is taken: it is to be what the upstream gets
      layers.rewrite, // likewise
      layers.mirror, // one copy for a request, not one for each attempt
      layers.deadline, // covers all attempts and the waiting between them
      layers.retry, // each attempt below is a new choice of endpoint
      layers.hedge, // one of the retry's attempts may be two, of which one is used
      layers.announce, // tells each attempt which one it is and what is left of the deadline
    ],
    balance,
  );
}
