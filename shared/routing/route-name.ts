import type { ShapedRoute } from '../config/shaping.js';

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
