import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Problem } from '../shared/config/load.js';
import { trustedPeers } from './forwarded.js';

/** What no schema of single values can see: references between parts. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { listen, routes, upstreams, trustedProxies, controlPlane } = isObject(document) ? document : ({} as Record<string, unknown>);
  const problems: Problem[] = [];
  const known = isObject(upstreams) ? Object.keys(upstreams) : [];
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    const upstream = isObject(route) ? route['upstream'] : undefined;
    if (typeof upstream !== 'string' || known.includes(upstream)) return;
    problems.push({ path: `routes[${index}].upstream`, message: `there is no upstream "${upstream}"; there ${known.length === 0 ? 'are none' : `is ${known.join(', ')}`}` });
  });
  problems.push(...unusableKeyPair(listen));
  duplicateRoutes(routes).forEach((index) =>
    problems.push({ path: `routes[${index}].match`, message: 'another route before it matches exactly the same requests' }),
  );
  (Array.isArray(trustedProxies) ? trustedProxies : []).forEach((entry: unknown, index) => {
    try {
      if (typeof entry === 'string') trustedPeers([entry]);
    } catch {
      problems.push({ path: `trustedProxies[${index}]`, message: `expected an address or a CIDR such as 10.0.0.0/8, got ${JSON.stringify(entry)}` });
    }
  });
  // A snapshot has no listen, and may have no routes.
  if (listen !== undefined && controlPlane === undefined && (routes === undefined || (Array.isArray(routes) && routes.length === 0))) {
    problems.push({ path: 'routes', message: 'at least one route is needed, or a controlPlane that provides them' });
  }
  return problems;
}

/** A certificate and key that cannot be read, or do not belong together, are a wrong configuration and not a failed start. */
function unusableKeyPair(listen: unknown): Problem[] {
  const tls = isObject(listen) ? listen['tls'] : undefined;
  if (!isObject(tls)) return [];
  const problems: Problem[] = [];
  const pems = (['cert', 'key'] as const).map((name) => {
    try {
      return typeof tls[name] === 'string' ? readFileSync(tls[name]) : undefined;
    } catch (error) {
      problems.push({ path: `listen.tls.${name}`, message: `the file cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})` });
      return undefined;
    }
  });
  const [cert, key] = pems;
  if (cert === undefined || key === undefined) return problems;
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    problems.push({ path: 'listen.tls', message: `certificate and key cannot be used together: ${(error as Error).message}` });
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
