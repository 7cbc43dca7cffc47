import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import { servicesIn, type Model } from '../model/model.js';
import type { Placement, Policy, Route, Service } from '../model/resources.js';

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
type Place = Exclude<Placement, 'both' | 'none'>;

/**
 * The configuration document of one proxy: a pure function of the resources, the registry and who asks. Equal
 * input gives equal text, so that a change which does not concern a proxy is not sent to it.
 *
 * This is where `placement` takes effect. A policy for a service runs either at the gateway, on the routes and the
 * upstream that lead to it, or in the mesh: what admits requests, and faults, in the service's own sidecars, what governs how
 * and where they are sent in the sidecars of those who call.
 */
export function compile(model: Model, endpoints: Endpoints, proxy: Proxy): object {
  return proxy.kind === 'gateway' ? compileGateway(model, endpoints) : compileSidecar(model, endpoints, proxy.service);
}

function compileGateway(model: Model, endpoints: Endpoints): object {
  const referenced = new Set(model.routes.map((route) => route.service));
  for (const service of sentToBeside(model, 'ambassador', (target) => referenced.has(target))) referenced.add(service);
  return {
    routes: model.routes.flatMap(({ name, match, service, subset }) => {
      const { jwt, authorization, rateLimit, fault, headers, mirror, timeout, ...spec } = specFor(model, service, 'ambassador');
      const policies = { jwt, authorization, rateLimit, fault, headers, mirror, timeout };
      return [
        ...diverted(name, match, spec).map((route) => defined({ ...route, ...policies })),
        defined({ name, match, ...destination(service, spec), subset: spec.split === undefined ? subset : undefined, ...policies }),
      ];
    }),
    upstreams: Object.fromEntries(
      model.services
        .filter(({ name }) => referenced.has(name))
        .map((service) => {
          return [service.name, defined({ ...found(service, endpoints), ...sending(specFor(model, service.name, 'ambassador')) })];
        }),
    ),
  };
}

/** Where a service is, and what is spoken there. */
function found({ name, endpoints: listed, discovery, protocol }: Service, endpoints: Endpoints): object {
  return { endpoints: listed ?? (discovery === undefined ? endpoints(name) : []), discovery, protocol };
}

/** What governs how requests are sent to a service, wherever they are sent from. */
function sending({ attemptTimeout, retry, hedge, breaker, adaptiveConcurrency, propagateDeadline, healthCheck, outlierDetection, limits, balance }: Partial<Spec>): Partial<Spec> {
  return { attemptTimeout, retry, hedge, breaker, adaptiveConcurrency, propagateDeadline, healthCheck, outlierDetection, limits, balance };
}

function compileSidecar(model: Model, endpoints: Endpoints, own: string | undefined): object {
  const { jwt, authorization, rateLimit, adaptiveConcurrency, fault } = own === undefined ? ({} as Partial<Spec>) : specFor(model, own, 'sidecar');
  const called = model.services.filter(({ name }) => name !== own);
  const routes = called.flatMap(({ name }) => {
    const { headers, mirror, ...spec } = specFor(model, name, 'sidecar');
    const match = { host: name };
    const ways = diverted(name, match, spec).map((route) => defined({ ...route, headers, mirror }));
    if (headers === undefined && mirror === undefined && spec.split === undefined) return ways;
    return [...ways, defined({ name, match, ...destination(name, spec), headers, mirror })];
  });
  const referenced = sentToBeside(model, 'sidecar', (target) => target !== own);
  return {
    inbound: defined({ jwt, authorization, rateLimit, adaptiveConcurrency, fault }),
    ...(routes.length > 0 && { routes }),
    upstreams: Object.fromEntries(
      model.services
        .filter(({ name }) => name !== own || referenced.has(name))
        .map((service) => {
          const spec = specFor(model, service.name, 'sidecar');
          return [service.name, defined({ ...found(service, endpoints), timeout: spec.timeout, ...sending(spec) })];
        }),
    ),
  };
}

/** Where requests for a service go: to it, or to the sides of a split in its place. */
function destination(service: string, { split, sticky }: Spec): object {
  return split === undefined ? { upstream: service } : { split, sticky };
}

/** The routes to other services, with all that a route matches and the conditions of the diversion. */
function diverted(route: string, match: Route['match'], { divert = [] }: Spec): { name: string; match: Route['match']; upstream: string }[] {
  return divert.map(({ match: conditions, upstream }, index) => ({
    name: `${route}-divert-${index}`,
    match: {
      ...match,
      ...defined({
        headers: conditions.headers && { ...match?.headers, ...conditions.headers },
        cookies: conditions.cookies && { ...match?.cookies, ...conditions.cookies },
        query: conditions.query && { ...match?.query, ...conditions.query },
      }),
    },
    upstream,
  }));
}

/** The services that get requests or copies of them in the place of others for which `isSentTo` holds. */
function sentToBeside(model: Model, place: Place, isSentTo: (service: string) => boolean): ReadonlySet<string> {
  return new Set(model.policies.filter(({ placement, target }) => holds(placement, place) && target.services.some(isSentTo)).flatMap((policy) => servicesIn(policy).map(([, service]) => service)));
}

/** What the policies placed here say about a service. No two of them say the same: the model was checked. */
function specFor(model: Model, service: string, place: Place): Spec {
  return Object.assign({}, ...model.policies.filter(({ placement, target }) => holds(placement, place) && target.services.includes(service)).map(({ spec }) => spec)) as Spec;
}

function holds(placement: Placement, place: Place): boolean {
  return placement === place || placement === 'both';
}

function defined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
