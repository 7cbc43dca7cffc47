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

interface SnapshotPlace {
  /** The file of the proxy that the document is a snapshot for, which has the listener. */
  readonly running: unknown;
}

/** What no schema of single values can see: references between parts. Takes any document, also a wrong one. `snapshot`: it is one, for that proxy; else a file, or the plugin's configuration. */
export function crossCheck(document: unknown, snapshot?: SnapshotPlace): Problem[] {
  const { listen, routes, upstreams, controlPlane, tcp } = isObject(document) ? document : ({} as Record<string, unknown>);
  const problems: Problem[] = [...checkRoutes(routes, upstreams), ...checkIdentity(document), ...checkIdentityFiles(document), ...checkMesh(document, snapshot === undefined ? document : snapshot.running)];
  if (isObject(listen)) problems.push(...checkServerTls(listen['tls'], 'listen.tls'));
  problems.push(...Object.entries(isObject(upstreams) ? upstreams : {}).flatMap(([name, upstream]) => (isObject(upstream) ? checkClientTls(upstream['tls'], `upstreams.${name}.tls`) : [])));
  const retries = new Map<unknown, [path: string, retry: unknown][]>();
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    if (!isObject(route) || route['retry'] === undefined) return;
    const own = retries.get(route['upstream']) ?? [];
    retries.set(route['upstream'], own);
    own.push([`routes[${index}].retry`, route['retry']]);
  });
  for (const [name, upstream] of Object.entries(isObject(upstreams) ? upstreams : {})) {
    problems.push(...checkProtocol(upstream, [...(retries.get(name) ?? []), [`upstreams.${name}.retry`, isObject(upstream) ? upstream['retry'] : undefined]]));
    if (isObject(upstream)) problems.push(...checkDelivery({ path: `upstreams.${name}`, own: upstream }));
  }
  (Array.isArray(routes) ? routes : []).forEach((route: unknown, index) => {
    if (!isObject(route)) return;
    const upstream = isObject(upstreams) ? upstreams[String(route['upstream'])] : undefined;
    // A snapshot has no listen, and does not know. Nor has the plugin, to whose server no caller proves an identity.
    const hasIdentities = snapshot === undefined ? asksForCertificates(listen) : undefined;
    problems.push(...checkKeys(route, `routes[${index}]`));
    problems.push(...checkAuthorization({ path: `routes[${index}]`, own: route, hasTokens: route['jwt'] !== undefined, hasIdentities }));
    problems.push(...checkDelivery({ path: `routes[${index}]`, own: route, upstream: isObject(upstream) ? upstream : undefined }));
  });
  problems.push(...checkUpstreams(upstreams), ...checkListeners(document), ...checkFastifyLimits(document, 'listen'));
  // A snapshot has no listen, and may have no routes; nor need a gateway that passes TCP on.
  if (listen !== undefined && tcp === undefined && controlPlane === undefined && (routes === undefined || (Array.isArray(routes) && routes.length === 0))) {
    problems.push({ path: 'routes', message: 'at least one route is needed, or a controlPlane that provides them' });
  }
  return problems;
}
