import { checkProtocol } from '../shared/config/check-protocol.js';
import type { Problem } from '../shared/config/load.js';
import { checkClientTls, checkServerTls } from '../shared/tls/check.js';

/** What no schema of single values can see: references between parts. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { listen, routes, upstreams, controlPlane } = isObject(document) ? document : ({} as Record<string, unknown>);
  const problems: Problem[] = [];
  const known = isObject(upstreams) ? Object.keys(upstreams) : [];
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    const upstream = isObject(route) ? route['upstream'] : undefined;
    if (typeof upstream !== 'string' || known.includes(upstream)) return;
    problems.push({ path: `routes[${index}].upstream`, message: `there is no upstream "${upstream}"; there ${known.length === 0 ? 'are none' : `is ${known.join(', ')}`}` });
  });
  if (isObject(listen)) problems.push(...checkServerTls(listen['tls'], 'listen.tls'));
  problems.push(...Object.entries(isObject(upstreams) ? upstreams : {}).flatMap(([name, upstream]) => (isObject(upstream) ? checkClientTls(upstream['tls'], `upstreams.${name}.tls`) : [])));
  for (const [name, upstream] of Object.entries(isObject(upstreams) ? upstreams : {})) {
    const own = (Array.isArray(routes) ? routes : []).flatMap((route: unknown, index): [string, unknown][] => (isObject(route) && route['upstream'] === name ? [[`routes[${index}].retry`, route['retry']]] : []));
    problems.push(...checkProtocol(upstream, [...own, [`upstreams.${name}.retry`, isObject(upstream) ? upstream['retry'] : undefined]]));
  }
  duplicateRoutes(routes).forEach((index) =>
    problems.push({ path: `routes[${index}].match`, message: 'another route before it matches exactly the same requests' }),
  );
  // A snapshot has no listen, and may have no routes.
  if (listen !== undefined && controlPlane === undefined && (routes === undefined || (Array.isArray(routes) && routes.length === 0))) {
    problems.push({ path: 'routes', message: 'at least one route is needed, or a controlPlane that provides them' });
  }
  return problems;
}

function duplicateRoutes(routes: unknown): number[] {
  const seen = new Set<string>();
  const duplicates: number[] = [];
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    const match = isObject(route) && isObject(route['match']) ? route['match'] : {};
    const { path = '/', host = '', method = [], headers = {} } = match as { path?: string; host?: string; method?: string | string[]; headers?: object };
    const key = JSON.stringify([path, host, [method].flat().sort(), Object.entries(headers).sort()]);
    if (seen.has(key)) duplicates.push(index);
    seen.add(key);
  });
  return duplicates;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
