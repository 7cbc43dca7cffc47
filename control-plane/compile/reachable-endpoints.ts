import type { WrittenEndpoint } from '../../shared/config/endpoints.js';

export type MtlsMode = 'strict' | 'permissive' | 'off';

/**
 * A service's endpoints as one caller is to speak to them.
 *
 * The caller follows the service's `mtls`: an endpoint with an `identity` is spoken to by mutual TLS, which takes an identity of the
 * caller's own, and which `off` does without. Under `strict` a caller that could prove who it is leaves out endpoints that cannot.
 */
export function reachableEndpoints(endpoints: readonly WrittenEndpoint[], mode: MtlsMode | undefined, hasIdentity: boolean): readonly WrittenEndpoint[] {
  if (mode === 'off' || !hasIdentity) return endpoints.some(hasName) ? endpoints.map(withoutName) : endpoints;
  return mode === 'strict' ? endpoints.filter(hasName) : endpoints;
}

function hasName(endpoint: WrittenEndpoint): boolean {
  return typeof endpoint !== 'string' && endpoint.identity !== undefined;
}

/** Written the shortest way, as an endpoint that never had one. */
function withoutName(endpoint: WrittenEndpoint): WrittenEndpoint {
  if (typeof endpoint === 'string' || endpoint.identity === undefined) return endpoint;
  const rest = Object.fromEntries(Object.entries(endpoint).filter(([key]) => key !== 'identity')) as typeof endpoint;
  return Object.keys(rest).length === 1 ? rest.address : rest;
}
