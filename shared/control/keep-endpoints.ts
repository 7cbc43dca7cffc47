import { isObject } from '../config/is-object.js';
import { addressOf } from '../config/endpoints.js';
import { endpointsOf, upstreamsOf, type Document } from './document.js';
import type { Snapshot } from './snapshot.js';

interface KeptEndpoints {
  readonly document: Document;
  /** Upstreams that keep endpoints which the snapshot does not name. */
  readonly kept: readonly string[];
}

/**
 * The document of a snapshot, with the endpoints that only a control plane that lost its memory would take away.
 *
 * No snapshot empties an upstream by accident: one that names no endpoints keeps those in force, unless it is `vacated`. An upstream that is
 * `partial` gets what the snapshot names and keeps the others, but for those that have left. What the snapshot says about an address goes before what was known of it.
 */
export function keepEndpoints({ config, partial, vacated }: Pick<Snapshot, 'config' | 'partial' | 'vacated'>, inForce: Document | undefined): KeptEndpoints {
  const kept: string[] = [];
  const upstreams = Object.entries(upstreamsOf(config)).map(([name, upstream]): [string, unknown] => {
    if (!isObject(upstream)) return [name, upstream];
    const named = endpointsOf(upstream);
    const gone = Object.hasOwn(partial, name) ? new Set(partial[name]) : undefined;
    if (gone === undefined && (named.length > 0 || vacated.includes(name))) return [name, upstream];
    const known = new Set(named.map(addressOf));
    const others = endpointsOf(upstreamsOf(inForce)[name]).filter((endpoint) => !known.has(addressOf(endpoint)) && gone?.has(addressOf(endpoint)) !== true);
    if (others.length === 0) return [name, upstream];
    kept.push(name);
    const endpoints = [...named, ...others].sort((a, b) => (addressOf(a) < addressOf(b) ? -1 : 1));
    return [name, { ...upstream, endpoints }];
  });
  return { document: kept.length === 0 ? config : { ...config, upstreams: Object.fromEntries(upstreams) }, kept };
}
