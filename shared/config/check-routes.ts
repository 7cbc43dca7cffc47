import { isObject } from './is-object.js';
import type { Problem } from './load.js';

/*
 * What no schema of single values can see about routes: references between parts of a document. Takes any
 * document, also a wrong one: what is not a route, or names nothing, is the schema's to refuse.
 */

const destinations = ['upstream', 'split', 'redirect', 'respond'] as const;
/** What says how a request is sent, which is of no use where none is. */
const sending = ['timeout', 'retry', 'hedge', 'mirror', 'rewrite'] as const;

export function checkRoutes(routes: unknown, upstreams: unknown): Problem[] {
  const known = new Set(isObject(upstreams) ? Object.keys(upstreams) : []);
  const list = Array.isArray(routes) ? (routes as unknown[]) : [];
  return [
    ...list.flatMap((route, index) => (isObject(route) ? checkRoute(route, `routes[${index}]`, known) : [])),
    ...duplicates(list).map((index) => ({ path: `routes[${index}].match`, message: 'another route before it matches exactly the same requests' })),
  ];
}

function checkRoute(route: Readonly<Record<string, unknown>>, path: string, known: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = [];
  const refer = (name: unknown, at: string): void => {
    if (typeof name !== 'string' || known.has(name)) return;
    problems.push({ path: `${path}.${at}`, message: `there is no upstream "${name}"; there ${known.size === 0 ? 'are none' : `is ${[...known].join(', ')}`}` });
  };
  refer(route['upstream'], 'upstream');
  if (Array.isArray(route['split'])) route['split'].forEach((side: unknown, index) => isObject(side) && refer(side['upstream'], `split[${index}].upstream`));
  if (isObject(route['mirror'])) refer(route['mirror']['upstream'], 'mirror.upstream');

  const given = destinations.filter((key) => route[key] !== undefined);
  if (given.length === 0) problems.push({ path: `${path}.upstream`, message: 'is missing: a route needs upstream, split, redirect or respond' });
  if (given.length > 1) problems.push({ path, message: `${given.join(' and ')} cannot be used together: a route has one destination` });
  if (route['sticky'] !== undefined && route['split'] === undefined) problems.push({ path: `${path}.sticky`, message: 'is for split, which is missing' });
  if (route['subset'] !== undefined && route['upstream'] === undefined) problems.push({ path: `${path}.subset`, message: 'is for upstream, which is missing' });
  if (given.length === 1 && (given[0] === 'redirect' || given[0] === 'respond')) {
    for (const key of sending) if (route[key] !== undefined) problems.push({ path: `${path}.${key}`, message: `is of no use: ${given[0]} sends nothing on` });
  }
  return problems;
}

function duplicates(routes: readonly unknown[]): number[] {
  const seen = new Set<string>();
  return routes.flatMap((route, index) => {
    const key = matchKey(isObject(route) ? route['match'] : undefined);
    if (seen.has(key)) return [index];
    seen.add(key);
    return [];
  });
}

/** The same text for matches that mean the same. */
export function matchKey(match: unknown): string {
  const { path, host, method, headers, cookies, query } = isObject(match) ? match : ({} as Record<string, unknown>);
  const segments = typeof path === 'string' ? path.split('/').filter((segment) => segment !== '') : [];
  return JSON.stringify([segments, typeof host === 'string' ? host.toLowerCase() : '*', [method ?? []].flat().sort(), conditions(headers, true), conditions(cookies), conditions(query)]);
}

function conditions(values: unknown, isCaseless = false): [name: string, match: string][] {
  return Object.entries(isObject(values) ? values : {})
    .map(([name, match]): [string, string] => [isCaseless ? name.toLowerCase() : name, JSON.stringify(isObject(match) && 'exact' in match ? match['exact'] : match)])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}
