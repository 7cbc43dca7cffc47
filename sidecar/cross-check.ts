import { checkProtocol } from '../shared/config/check-protocol.js';
import type { Problem } from '../shared/config/load.js';
import { checkClientTls, checkServerTls } from '../shared/tls/check.js';

/** What no schema of single values can see. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { service, inbound, outbound, upstreams, controlPlane } = isObject(document) ? document : ({} as Record<string, unknown>);
  const problems: Problem[] = [];
  for (const [name, upstream] of Object.entries(isObject(upstreams) ? upstreams : {})) {
    if (isObject(upstream)) problems.push(...checkClientTls(upstream['tls'], `upstreams.${name}.tls`), ...checkProtocol(upstream, [[`upstreams.${name}.retry`, upstream['retry']]]));
  }
  if (service === undefined) return problems;
  for (const [name, side] of Object.entries({ inbound, outbound })) {
    if (isObject(side) && isObject(side['listen'])) problems.push(...checkServerTls(side['listen']['tls'], `${name}.listen.tls`));
  }
  if (inbound === undefined && outbound === undefined) {
    problems.push({ path: '', message: 'a sidecar needs inbound, outbound or both' });
  }
  if (outbound === undefined && upstreams !== undefined) {
    problems.push({ path: 'upstreams', message: 'upstreams are reached through outbound, which is missing' });
  }
  const { advertise } = isObject(controlPlane) ? controlPlane : ({} as Record<string, unknown>);
  if (advertise !== undefined && inbound === undefined) {
    problems.push({ path: 'controlPlane.advertise', message: 'there is no inbound listener to advertise' });
  }
  return problems;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
