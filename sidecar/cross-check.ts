import { isObject } from '../shared/config/is-object.js';
import { asksForCertificates, checkAuthorization } from '../shared/config/check-authorization.js';
import { checkFastifyLimits } from '../shared/config/check-fastify.js';
import { checkIdentity } from '../shared/config/check-identity.js';
import { checkKeys } from '../shared/config/check-keys.js';
import { checkProtocol } from '../shared/config/check-protocol.js';
import { checkRoutes } from '../shared/config/check-routes.js';
import { checkDelivery } from '../shared/config/cross-check-resilience.js';
import { checkListeners } from '../shared/config/listener-check.js';
import type { Problem } from '../shared/config/load.js';
import { checkIdentityFiles, checkMesh } from '../shared/identity/check.js';
import { checkUpstreams } from '../shared/config/upstream-check.js';
import { checkClientTls, checkServerTls } from '../shared/tls/check.js';

/** What no schema of single values can see. Takes any document, also a wrong one; `running` is the file of the proxy that it is a snapshot for. */
export function crossCheck(document: unknown, running: unknown = document): Problem[] {
  const { service, inbound, outbound, routes, upstreams, controlPlane, tcp, identity } = isObject(document) ? document : ({} as Record<string, unknown>);
  const problems: Problem[] = [...checkRoutes(routes, upstreams), ...checkIdentity(document), ...checkIdentityFiles(document), ...checkMesh(document, running)];
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    const match = isObject(route) ? route['match'] : undefined;
    if (isObject(route) && (!isObject(match) || match['host'] === undefined)) problems.push({ path: `routes[${index}].match.host`, message: 'is missing: calls go by the host that they are for' });
  });
  for (const [name, upstream] of Object.entries(isObject(upstreams) ? upstreams : {})) {
    if (!isObject(upstream)) continue;
    const path = `upstreams.${name}`;
    problems.push(...checkClientTls(upstream['tls'], `${path}.tls`), ...checkDelivery({ path, own: upstream }), ...checkProtocol(upstream, [[`${path}.retry`, upstream['retry']]]));
  }
  problems.push(...checkUpstreams(upstreams));
  if (isObject(inbound)) {
    // A snapshot has no service, and does not know.
    const hasIdentities = service === undefined ? undefined : identity !== undefined || asksForCertificates(inbound['listen']);
    problems.push(...checkKeys(inbound, 'inbound'));
    problems.push(...checkAuthorization({ path: 'inbound', own: inbound, hasTokens: inbound['jwt'] !== undefined, hasIdentities }));
  }
  if (service === undefined) return problems;
  for (const [name, side] of Object.entries({ inbound, outbound })) {
    if (isObject(side) && isObject(side['listen'])) problems.push(...checkServerTls(side['listen']['tls'], `${name}.listen.tls`));
  }
  problems.push(...checkListeners(document), ...checkFastifyLimits(document, 'inbound.listen'), ...checkFastifyLimits(document, 'outbound.listen'));
  if (inbound === undefined && outbound === undefined && tcp === undefined) {
    problems.push({ path: '', message: 'a sidecar needs inbound, outbound or both' });
  }
  if (outbound === undefined && tcp === undefined && upstreams !== undefined) {
    problems.push({ path: 'upstreams', message: 'upstreams are reached through outbound, which is missing' });
  }
  if (outbound === undefined && Array.isArray(routes) && routes.length > 0) {
    problems.push({ path: 'routes', message: 'routes are for what goes out through outbound, which is missing' });
  }
  const { advertise } = isObject(controlPlane) ? controlPlane : ({} as Record<string, unknown>);
  if (advertise !== undefined && inbound === undefined) {
    problems.push({ path: 'controlPlane.advertise', message: 'there is no inbound listener to advertise' });
  }
  return problems;
}
