import { isObject } from './is-object.js';
import type { Problem } from './load.js';

/** Contradictions within upstreams that no schema of single values can see. Takes any document, also a wrong one. */
export function checkUpstreams(upstreams: unknown): Problem[] {
  return Object.entries(isObject(upstreams) ? upstreams : {}).flatMap(([name, upstream]) => (isObject(upstream) ? checkUpstream(upstream, `upstreams.${name}`) : []));
}

function checkUpstream({ endpoints, discovery, tls }: Record<string, unknown>, path: string): Problem[] {
  const problems: Problem[] = [];
  if (endpoints === undefined && discovery === undefined) problems.push({ path: `${path}.endpoints`, message: 'is missing; endpoints, discovery or both are needed' });
  if (isObject(discovery) && isObject(discovery['dns']) && isObject(tls) && tls['serverName'] === undefined) {
    problems.push({ path: `${path}.tls.serverName`, message: 'is missing; the DNS finds addresses, and a certificate is for a name' });
  }
  return problems;
}
