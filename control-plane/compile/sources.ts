import type { Model } from '../model/model.js';
import { holds, type Place, type Proxy } from './compile.js';

/** The parts of a document that a proxy may say something about. */
interface Document {
  readonly routes?: readonly { readonly name?: string; readonly match?: { readonly host?: unknown } }[];
  readonly inbound?: object;
  readonly upstreams?: Readonly<Record<string, object>>;
}

/** Where a part of a proxy's document comes from: path there, resource here. */
export type Sources = Readonly<Record<string, string>>;

/** Which settings of a part come from which policy: most parts are the same for all proxies of a kind. */
export type MadeSettings = WeakMap<object, readonly (readonly [setting: string, resource: string])[]>;

/**
 * Says which resource each part of a compiled document comes from, so that what a proxy rejects can be told in the words of whoever
 * wrote it: `upstreams.orders.retry` is `Policy/patience`. Parts that nothing is said about come from what is around them, and an
 * upstream from the service of its name.
 */
export function sourcesOf(model: Model, proxy: Proxy, { routes = [], inbound = {}, upstreams = {} }: Document, made: MadeSettings = new WeakMap()): Sources {
  const place: Place = proxy.kind === 'gateway' ? 'ambassador' : 'sidecar';
  // Without a prototype, as the upstreams are (compile.ts).
  const sources = Object.create(null) as Record<string, string>;
  const settings = (path: string, part: object, service: string | undefined): void => {
    let known = made.get(part);
    if (known === undefined) made.set(part, (known = service === undefined ? [] : settingsOf(model, place, part, service)));
    for (const [setting, resource] of known) sources[`${path}.${setting}`] = resource;
  };
  const routeOf = new Map(model.routes.map((route) => [route.name, route]));
  routes.forEach((route, index) => {
    const path = `routes[${index}]`;
    const written = routeOf.get(route.name ?? '') ?? routeOf.get((route.name ?? '').replace(/-divert-\d+$/, ''));
    const service = proxy.kind === 'gateway' ? written?.service : String(route.match?.host);
    sources[path] = proxy.kind === 'gateway' ? `Route/${written?.name ?? route.name ?? ''}` : `Service/${service ?? ''}`;
    settings(path, route, service);
  });
  settings('inbound', inbound, proxy.service);
  for (const [name, upstream] of Object.entries(upstreams)) {
    settings(`upstreams.${name}`, upstream, name);
  }
  return sources;
}

function settingsOf(model: Model, place: Place, part: object, service: string): [setting: string, resource: string][] {
  return model.policiesOf(service).flatMap(({ name, placement, spec }) => {
    const settings = holds(placement, place) ? Object.keys(spec).filter((setting) => setting in part) : [];
    // What only stays for a moment has a name with more behind it (publish/bridge.ts).
    return settings.map((setting): [string, string] => [setting, `Policy/${name.split(' ', 1)[0]!}`]);
  });
}
