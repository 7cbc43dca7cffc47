import { createHash } from 'node:crypto';
import { matchKey } from '../config/check-routes.js';
import type { ShapedRoute } from '../config/shaping.js';
import type { Scope } from '../policy/scope.js';

/** The name of a route in logs and metrics: its own, or what it matches, with the names of its conditions but not their values. */
export function routeName({ name, match }: Pick<ShapedRoute, 'name' | 'match'>): string {
  const methods = match.method === undefined ? '' : `${[match.method].flat().join(',')} `;
  const conditions = [
    ...Object.keys(match.headers ?? {}).map((header) => header.toLowerCase()),
    ...Object.keys(match.cookies ?? {}).map((cookie) => `cookie ${cookie}`),
    ...Object.keys(match.query ?? {}).map((parameter) => `query ${parameter}`),
  ];
  return name ?? `${methods}${match.host ?? ''}${match.path}${conditions.length === 0 ? '' : ` (${conditions.join(', ')})`}`;
}

/**
 * What the state of a route's policies belongs to: its name, and the whole of what it matches, values included; another route of the same name has its
 * own. Short, since with workers it goes to the front with each request that is counted.
 */
export function routeScope(route: Pick<ShapedRoute, 'name' | 'match'>): Scope {
  const name = `route ${routeName(route)}`;
  return { name, key: `${name} ${createHash('sha256').update(matchKey(route.match)).digest('base64url')}` };
}
