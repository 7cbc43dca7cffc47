import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import type { Model } from '../model/model.js';
import type { Placement, Policy } from '../model/resources.js';

/** A proxy, as far as its configuration depends on it. */
export interface Proxy {
  readonly node: string;
  readonly kind: 'gateway' | 'sidecar';
  /** The service that a sidecar stands beside. */
  readonly service?: string | undefined;
}

/** A service's live instances, in a stable order. */
export type Endpoints = (service: string) => readonly WrittenEndpoint[];

type Spec = Policy['spec'];

/**
 * The configuration document of one proxy: a pure function of the resources, the registry and who asks. Equal
 * input gives equal text, so that a change which does not concern a proxy is not sent to it.
 *
 * This is where `placement` takes effect. A policy for a service runs either at the gateway, on the routes and the
 * upstream that lead to it, or in the mesh: what admits requests in the service's own sidecars, what governs how they
 * are sent in the sidecars of those who call.
 */
export function compile(model: Model, endpoints: Endpoints, proxy: Proxy): object {
  return proxy.kind === 'gateway' ? compileGateway(model, endpoints) : compileSidecar(model, endpoints, proxy.service);
}

function compileGateway(model: Model, endpoints: Endpoints): object {
  const referenced = new Set(model.routes.map((route) => route.service));
  return {
    routes: model.routes.map(({ name, match, service, subset }) => {
      const { jwt, rateLimit, timeout, retry } = specFor(model, service, 'ambassador');
      return defined({ name, match, upstream: service, subset, jwt, rateLimit, timeout, retry });
    }),
    upstreams: Object.fromEntries(
      model.services
        .filter(({ name }) => referenced.has(name))
        .map((service) => {
          const { attemptTimeout, breaker, balance } = specFor(model, service.name, 'ambassador');
          return [service.name, defined({ endpoints: service.endpoints ?? endpoints(service.name), attemptTimeout, breaker, balance })];
        }),
    ),
  };
}

function compileSidecar(model: Model, endpoints: Endpoints, own: string | undefined): object {
  const { jwt, rateLimit } = own === undefined ? ({} as Spec) : specFor(model, own, 'sidecar');
  return {
    inbound: defined({ jwt, rateLimit }),
    upstreams: Object.fromEntries(
      model.services
        .filter(({ name }) => name !== own)
        .map((service) => {
          const { timeout, attemptTimeout, retry, breaker, balance } = specFor(model, service.name, 'sidecar');
          return [service.name, defined({ endpoints: service.endpoints ?? endpoints(service.name), timeout, attemptTimeout, retry, breaker, balance })];
        }),
    ),
  };
}

/** What the policies placed here say about a service. No two of them say the same: the model was checked. */
function specFor(model: Model, service: string, place: 'ambassador' | 'sidecar'): Spec {
  const holds = (placement: Placement): boolean => placement === place || placement === 'both';
  return Object.assign({}, ...model.policies.filter(({ placement, target }) => holds(placement) && target.services.includes(service)).map(({ spec }) => spec)) as Spec;
}

function defined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
