import { X509Certificate } from 'node:crypto';
import { isObject } from '../config/is-object.js';
import type { Problem } from '../config/load.js';
import { readFileBoundedSync } from '../files/read-file.js';
import { checkPems } from '../tls/check.js';
import { ownName } from './mesh-identity.js';

/*
 * What no schema of single values can see about a proxy's place in the mesh. Takes any document, also a wrong one; what a schema sees is left
 * to the schema.
 */

/** Files of an identity that are given must be there and fit; those of one that is enrolled may be still to come. */
export function checkIdentityFiles(document: unknown): Problem[] {
  const identity = isObject(document) ? document['identity'] : undefined;
  if (!isObject(identity) || !('cert' in identity)) return [];
  const { cert, key, bundle } = identity;
  const problems = [...checkPems({ cert, key }, 'identity'), ...checkPems({ bundle }, 'identity')];
  if (problems.length > 0 || typeof cert !== 'string') return problems;
  try {
    ownName(new X509Certificate(readFileBoundedSync(cert)));
  } catch (error) {
    problems.push({ path: 'identity.cert', message: `cannot be used: ${(error as Error).message}` });
  }
  return problems;
}

/** `running`: the file of the proxy that `document` is a snapshot for; otherwise the document itself. */
export function checkMesh(document: unknown, running: unknown = document): Problem[] {
  const { inbound, upstreams, tcp } = isObject(document) ? document : ({} as Record<string, unknown>);
  const file = isObject(running) ? running : ({} as Record<string, unknown>);
  const place: Place = { hasIdentity: file['identity'] !== undefined, tls: tlsOf(file['inbound']) };
  return [
    ...(isObject(inbound) ? checkMode(inbound['mtls'], 'inbound', place, document === running) : []),
    ...(Array.isArray(tcp) ? tcp.flatMap((entry: unknown, index) => (isObject(entry) ? checkTcp(entry, `tcp[${index}]`, place.hasIdentity) : [])) : []),
    ...(place.hasIdentity ? [] : checkEndpoints(upstreams)),
  ];
}

interface Place {
  readonly hasIdentity: boolean;
  /** TLS that is configured at the listener itself. */
  readonly tls: unknown;
}

function checkMode(mode: unknown, path: string, { hasIdentity, tls }: Place, isFile: boolean): Problem[] {
  if (!hasIdentity) return mode === undefined || mode === 'off' ? [] : [noIdentity(`${path}.mtls`)];
  if (tls === undefined || mode === 'off' || (mode === undefined && !isFile)) return [];
  return [{ path: isFile ? `${path}.listen.tls` : `${path}.mtls`, message: 'the listener speaks either mutual TLS with the identity or TLS of its own: take listen.tls away, or say mtls: off' }];
}

function checkTcp(entry: Record<string, unknown>, path: string, hasIdentity: boolean): Problem[] {
  const { mtls, listen } = entry;
  if (mtls !== 'strict' && mtls !== 'permissive') return [];
  if (!hasIdentity) return [noIdentity(`${path}.mtls`)];
  if (tlsOf(entry) !== undefined) return [{ path: `${path}.listen.tls`, message: 'the listener speaks either mutual TLS with the identity or TLS of its own: take listen.tls away, or say mtls: off' }];
  if (isObject(listen) && listen['path'] !== undefined) return [{ path: `${path}.mtls`, message: 'a Unix domain socket is of this machine alone: its clients prove nothing by mutual TLS' }];
  return [];
}

function checkEndpoints(upstreams: unknown): Problem[] {
  return Object.entries(isObject(upstreams) ? upstreams : {}).flatMap(([name, upstream]) => {
    const endpoints = isObject(upstream) && Array.isArray(upstream['endpoints']) ? (upstream['endpoints'] as unknown[]) : [];
    return endpoints.flatMap((endpoint, index) => (isObject(endpoint) && endpoint['identity'] !== undefined ? [noIdentity(`upstreams.${name}.endpoints[${index}].identity`)] : []));
  });
}

function noIdentity(path: string): Problem {
  return { path, message: 'mutual TLS takes an identity of this proxy’s own, and `identity` is missing in its configuration' };
}

function tlsOf(section: unknown): unknown {
  return isObject(section) && isObject(section['listen']) ? section['listen']['tls'] : undefined;
}
