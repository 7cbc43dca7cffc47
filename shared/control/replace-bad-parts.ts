import { isObject } from '../config/is-object.js';
import type { Problem } from '../config/load.js';
import { inboundOf, routeNamed, routesOf, upstreamsOf, type Document, type Section } from './document.js';
import type { Rejection, Snapshot } from './snapshot.js';

/*
 * One bad resource is rejected alone: the parts of a document that have problems are replaced by their last good version, and the rest goes
 * live.
 *
 * What is replaced is as small as it can be without letting anybody in who was not in before:
 *
 * - `inbound.jwt`: the setting. A bad one that is new leaves inbound as it was.
 * - `routes[2]`, whatever is wrong in it: the whole route, by its name. A route without its token check must not go live; one that is
 *   new is left out, so that its requests go where they went before. The upstreams that the old version sends to come back with it.
 * - `upstreams.orders.retry`: the setting, so that the endpoints stay up to date; but the whole upstream where it is new.
 */

interface Replaced {
  readonly document: Document;
  readonly rejections: readonly Rejection[];
}

/** Undefined when a problem is of no single part, or stays where the last good version is already. */
export function replaceBadParts(document: Document, lastGood: Document | undefined, problems: readonly Problem[], sources: Snapshot['sources'] = {}): Replaced | undefined {
  const routes: unknown[] = [...routesOf(document)];
  const inbound: Section = { ...inboundOf(document) };
  const upstreams: Section = { ...upstreamsOf(document) };
  const rejections = new Map<string, Rejection>();
  const dropped = new Set<number>();
  for (const problem of problems) {
    const part = partOf(problem.path, upstreams, lastGood);
    if (part === undefined) return undefined;
    const isFirst = !rejections.has(part.path);
    if (!isFirst) continue;
    const resource = resourceOf(problem.path, sources);
    rejections.set(part.path, { path: part.path, ...(resource !== undefined && { resource }), reason: `${problem.path}: ${problem.message}`.slice(0, 4_096) });
    if (part.kind === 'route') {
      const bad = routes[part.index];
      const good = isObject(bad) ? routeNamed(lastGood, bad['name']) : undefined;
      if (good === undefined || good === bad) dropped.add(part.index);
      else routes[part.index] = good;
      for (const name of good === undefined ? [] : upstreamsNamedIn(good)) if (!(name in upstreams) && name in upstreamsOf(lastGood)) upstreams[name] = upstreamsOf(lastGood)[name];
    } else if (part.kind === 'inbound') {
      if (!replace(inbound, part.setting, inboundOf(lastGood))) return undefined;
    } else if (part.setting === undefined) {
      if (!replace(upstreams, part.name, upstreamsOf(lastGood))) return undefined;
    } else {
      const upstream: Section = { ...(upstreams[part.name] as Section) };
      if (!replace(upstream, part.setting, upstreamsOf(lastGood)[part.name] as Section)) return undefined;
      upstreams[part.name] = upstream;
    }
  }
  const next: Document = {
    ...document,
    ...('routes' in document && { routes: routes.filter((_, index) => !dropped.has(index)) }),
    ...('inbound' in document && { inbound }),
    ...('upstreams' in document && { upstreams }),
  };
  return { document: next, rejections: [...rejections.values()] };
}

type Part =
  | { readonly kind: 'route'; readonly path: string; readonly index: number }
  | { readonly kind: 'inbound'; readonly path: string; readonly setting: string }
  | { readonly kind: 'upstream'; readonly path: string; readonly name: string; readonly setting: string | undefined };

/** The part of a document that a path is in. */
function partOf(path: string, upstreams: Section, lastGood: Document | undefined): Part | undefined {
  const route = /^routes\[(\d+)\]/.exec(path);
  if (route !== null) return { kind: 'route', path: route[0], index: Number(route[1]) };
  const setting = /^inbound\.([\w-]+)/.exec(path);
  if (setting !== null) return { kind: 'inbound', path: setting[0], setting: setting[1]! };
  const upstream = /^upstreams(?:\.([\w-]+)|\[("(?:[^"\\]|\\.)*")\])(?:\.([\w-]+))?/.exec(path);
  if (upstream === null) return undefined;
  const name = upstream[1] ?? (JSON.parse(upstream[2]!) as string);
  const isSettled = upstream[3] !== undefined && isObject(upstreams[name]) && isObject(upstreamsOf(lastGood)[name]);
  return { kind: 'upstream', name, path: isSettled ? upstream[0] : upstream[0].slice(0, upstream[3] === undefined ? undefined : -upstream[3].length - 1), setting: isSettled ? upstream[3] : undefined };
}

/** The resource behind a path: that of the longest part of it that has one; an upstream is the service of its name. */
export function resourceOf(path: string, sources: Snapshot['sources']): string | undefined {
  for (let part = path; part !== ''; part = part.replace(/(?:\.?[\w-]+|\[[^\]]*\])$/, '')) {
    if (Object.hasOwn(sources, part)) return sources[part];
    const upstream = /^upstreams\.([\w-]+)$/.exec(part);
    if (upstream !== null) return `Service/${upstream[1]!}`;
    if (!/(?:\.?[\w-]+|\[[^\]]*\])$/.test(part)) return undefined;
  }
  return undefined;
}

/** Puts the last good one in the place of what is there, or nothing; false when that was there already. */
function replace(section: Section, name: string, good: Section): boolean {
  const before = section[name];
  const after = good[name];
  if (after === undefined) Reflect.deleteProperty(section, name);
  else section[name] = after;
  return before !== after;
}

function upstreamsNamedIn(route: unknown): string[] {
  const { upstream, split, mirror } = route as { upstream?: unknown; split?: unknown; mirror?: unknown };
  const ways = [{ upstream }, ...(Array.isArray(split) ? (split as unknown[]) : []), mirror];
  return ways.flatMap((way) => (isObject(way) && typeof way['upstream'] === 'string' ? [way['upstream']] : []));
}
