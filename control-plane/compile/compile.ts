import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import { servicesIn, type Model } from '../model/model.js';
import type { Placement, Policy, Route, Service } from '../model/resources.js';
import { reachableEndpoints } from './reachable-endpoints.js';

/** A proxy, as far as its configuration depends on it. */
export interface Proxy {
  readonly node: string;
  readonly kind: 'gateway' | 'sidecar';
  /** The service that a sidecar stands beside. */
  readonly service?: string | undefined;
  /** Whether it can prove who it is: without, it cannot speak mutual TLS to endpoints. */
  readonly hasIdentity?: boolean | undefined;
}

/** A service's live instances, in a stable order. */
export type Endpoints = (service: string) => readonly WrittenEndpoint[];

type Spec = Policy['spec'];
export type Place = Exclude<Placement, 'both' | 'none'>;

/**
 * The configuration document of one proxy: a pure function of the resources, the registry and who asks. Equal
 * input gives equal text, so that a change which does not concern a proxy is not sent to it.
 *
 * This is where `placement` takes effect. A policy for a service runs either at the gateway, on the routes and the
 * upstream that lead to it, or in the mesh: what admits requests, and faults, in the service's own sidecars, what governs how
 * and where they are sent in the sidecars of those who call. `mtls` alone always acts in the service's own sidecars, and
 * whoever calls follows, gateways too.
 *
 * A sidecar is told of the services that its own `calls`, and of those that these send requests to.
 */
export function compile(model: Model, endpoints: Endpoints, proxy: Proxy, made: MadeParts = new Map()): object {
  const addresses: Addresses = ({ name, endpoints: fixed }) => reachableEndpoints(fixed ?? endpoints(name), specFor(model, name, 'sidecar').mtls?.mode, proxy.hasIdentity === true);
  const variety = `${proxy.kind} ${proxy.hasIdentity === true}`;
  let parts = made.get(variety);
  if (parts === undefined) made.set(variety, (parts = { upstreams: new Map(), routes: new Map() }));
  return proxy.kind === 'gateway' ? compileGateway(model, addresses, parts) : compileSidecar(model, addresses, proxy.service, parts);
}

/** Parts of documents, by the service that they are for. */
interface Parts {
  readonly upstreams: Map<string, object>;
  /** Of sidecars alone. */
  readonly routes: Map<string, readonly object[]>;
}

/** What was made of the same model and registry for other proxies, by kind: most of a document is the same for all of a kind. */
export type MadeParts = Map<string, Parts>;

/** Makes a part unless it was made for another proxy. */
function once<T>(made: Map<string, T>, name: string, make: () => T): T {
  let part = made.get(name);
  if (part === undefined) made.set(name, (part = make()));
  return part;
}

/** The endpoints of a service for the proxy that is compiled for. */
type Addresses = (service: Service) => readonly WrittenEndpoint[];

function compileGateway(model: Model, addresses: Addresses, { upstreams }: Parts): object {
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
    upstreams: dictionary(
      model.services
        .filter(({ name }) => referenced.has(name))
        .map((service) => [service.name, once(upstreams, service.name, () => defined({ ...found(service, addresses), ...sending(specFor(model, service.name, 'ambassador')) }))]),
    ),
  };
}

/** Where a service is, and what is spoken there. */
function found(service: Service, addresses: Addresses): object {
  const { endpoints: listed, discovery, protocol } = service;
  return { endpoints: listed === undefined && discovery !== undefined ? [] : addresses(service), discovery, protocol };
}

/** What governs how requests are sent to a service, wherever they are sent from. */
function sending({ attemptTimeout, retry, hedge, breaker, adaptiveConcurrency, propagateDeadline, healthCheck, outlierDetection, limits, balance }: Partial<Spec>): Partial<Spec> {
  return { attemptTimeout, retry, hedge, breaker, adaptiveConcurrency, propagateDeadline, healthCheck, outlierDetection, limits, balance };
}

function compileSidecar(model: Model, addresses: Addresses, own: string | undefined, parts: Parts): object {
  const { jwt, authorization, rateLimit, adaptiveConcurrency, fault, mtls } = own === undefined ? ({} as Partial<Spec>) : specFor(model, own, 'sidecar');
  const listed = model.services.find(({ name }) => name === own)?.calls;
  const calls = listed && new Set(listed);
  const called = model.services.filter(({ name }) => name !== own && (calls?.has(name) ?? true));
  const routes = called.flatMap(({ name }) => once(parts.routes, name, () => routesTo(name, specFor(model, name, 'sidecar'))));
  const targets = new Set(called.map(({ name }) => name));
  const referenced = sentToBeside(model, 'sidecar', (target) => targets.has(target));
  return {
    inbound: defined({ jwt, authorization, rateLimit, adaptiveConcurrency, fault, mtls: mtls?.mode }),
    ...(routes.length > 0 && { routes }),
    upstreams: dictionary(
      model.services
        .filter(({ name }) => targets.has(name) || referenced.has(name))
        .map((service) => [
          service.name,
          once(parts.upstreams, service.name, () => {
            const spec = specFor(model, service.name, 'sidecar');
            return defined({ ...found(service, addresses), timeout: spec.timeout, ...sending(spec) });
          }),
        ]),
    ),
  };
}

/** A sidecar's routes to a service; none where there is nothing to do on the way. */
function routesTo(name: string, { headers, mirror, ...spec }: Spec): readonly object[] {
  const match = { host: name };
  const ways = diverted(name, match, spec).map((route) => defined({ ...route, headers, mirror }));
  if (headers === undefined && mirror === undefined && spec.split === undefined) return ways;
  return [...ways, defined({ name, match, ...destination(name, spec), headers, mirror })];
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
export function specFor(model: Model, service: string, place: Place): Spec {
  return Object.assign({}, ...model.policiesOf(service).filter(({ placement }) => holds(placement, place)).map(({ spec }) => spec)) as Spec;
}

export function holds(placement: Placement, place: Place): boolean {
  return placement === place || placement === 'both';
}

/** Without a prototype: an object that has one gets a hidden class for each new name, and a sidecar leaves its own out, so that none has the classes of another. */
function dictionary<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const made = Object.create(null) as Record<string, T>;
  for (const [name, value] of entries) made[name] = value;
  return made;
}

function defined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
