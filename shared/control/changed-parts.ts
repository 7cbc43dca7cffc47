import { isDeepStrictEqual } from 'node:util';
import { isObject } from '../config/is-object.js';
import { inboundOf, routeNamed, routesOf, upstreamsOf, type Document, type Section } from './document.js';
import { resourceOf } from './replace-bad-parts.js';
import type { Snapshot } from './snapshot.js';

/** Parts that changed together because one resource did. */
interface ChangedParts {
  readonly resource: string | undefined;
  /** Paths, the innermost that changed: `routes[0].jwt`, `inbound.jwt`, `upstreams.orders.retry`. */
  readonly paths: readonly string[];
}

/** What differs from the last good document, by the resource that it comes from. */
export function changedParts(document: Document, lastGood: Document | undefined, sources: Snapshot['sources']): ChangedParts[] {
  const paths: string[] = [];
  const compare = (path: string, part: unknown, good: unknown): void => {
    if (isDeepStrictEqual(part, good)) return;
    if (!isObject(part) || !isObject(good)) {
      paths.push(...(isObject(part) ? [path, ...Object.keys(part).map((setting) => `${path}.${setting}`).filter((at) => Object.hasOwn(sources, at))] : [path]));
      return;
    }
    for (const setting of new Set([...Object.keys(part), ...Object.keys(good)])) if (!isDeepStrictEqual(part[setting], good[setting])) paths.push(`${path}.${setting}`);
  };
  routesOf(document).forEach((route, index) => compare(`routes[${index}]`, route, isObject(route) ? routeNamed(lastGood, route['name']) : undefined));
  const [inbound, inboundBefore] = [inboundOf(document), inboundOf(lastGood)];
  for (const setting of new Set([...Object.keys(inbound), ...Object.keys(inboundBefore)])) if (!isDeepStrictEqual(inbound[setting], inboundBefore[setting])) paths.push(`inbound.${setting}`);
  const [upstreams, before]: [Section, Section] = [upstreamsOf(document), upstreamsOf(lastGood)];
  for (const [name, upstream] of Object.entries(upstreams)) compare(`upstreams${/^[\w-]+$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`}`, upstream, before[name]);
  const groups = new Map<string, { resource: string | undefined; paths: string[] }>();
  for (const path of paths) {
    const resource = resourceOf(path, sources);
    const key = resource ?? path;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { resource, paths: [path] });
    else group.paths.push(path);
  }
  // Policies first: they are what most often names a file or an address that is not there.
  return [...groups.values()].sort((a, b) => Number(b.resource?.startsWith('Policy/') === true) - Number(a.resource?.startsWith('Policy/') === true));
}
