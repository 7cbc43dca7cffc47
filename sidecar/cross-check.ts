import type { Problem } from '../shared/config/load.js';

/** What no schema of single values can see. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { service, inbound, outbound, upstreams, controlPlane } = (typeof document === 'object' && document !== null ? document : {}) as Record<string, unknown>;
  const problems: Problem[] = [];
  if (service === undefined) return problems;
  if (inbound === undefined && outbound === undefined) {
    problems.push({ path: '', message: 'a sidecar needs inbound, outbound or both' });
  }
  if (outbound === undefined && upstreams !== undefined) {
    problems.push({ path: 'upstreams', message: 'upstreams are reached through outbound, which is missing' });
  }
  const { advertise } = (typeof controlPlane === 'object' && controlPlane !== null ? controlPlane : {}) as Record<string, unknown>;
  if (advertise !== undefined && inbound === undefined) {
    problems.push({ path: 'controlPlane.advertise', message: 'there is no inbound listener to advertise' });
  }
  return problems;
}
