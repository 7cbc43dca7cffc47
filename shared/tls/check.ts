import { isObject } from '../config/is-object.js';
import type { Problem } from '../config/load.js';
import { readFileBoundedSync, whyUnreadable } from '../files/read-file.js';
import { refuseUnlessAuthorities, refuseUnlessPair } from './usable.js';

/*
 * Certificates and keys that cannot be read, or do not belong together, are a wrong configuration and not a failed start.
 * Each check takes any `tls` section, also a wrong one; what a schema sees is left to the schema.
 */

export function checkServerTls(tls: unknown, path: string): Problem[] {
  if (!isObject(tls)) return [];
  const { certificates, clientAuth } = tls;
  return [
    ...checkPems(tls, path),
    ...(Array.isArray(certificates) ? certificates.flatMap((entry: unknown, index) => (isObject(entry) ? checkPems(entry, `${path}.certificates[${index}]`) : [])) : []),
    ...(isObject(clientAuth) ? checkPems(clientAuth, `${path}.clientAuth`) : []),
  ];
}

export function checkClientTls(tls: unknown, path: string): Problem[] {
  if (!isObject(tls)) return [];
  const problems: Problem[] = [];
  if ('cert' in tls && !('key' in tls)) problems.push({ path: `${path}.key`, message: 'is missing; a certificate is of no use without its key' });
  if ('key' in tls && !('cert' in tls)) problems.push({ path: `${path}.cert`, message: 'is missing; a key is of no use without its certificate' });
  return problems.length > 0 ? problems : checkPems(tls, path);
}

/** The files of a section that are named there, whether they can be read and belong together. */
export function checkPems(section: Record<string, unknown>, path: string): Problem[] {
  const problems: Problem[] = [];
  const pems: { ca?: Buffer; bundle?: Buffer; cert?: Buffer; key?: Buffer } = {};
  for (const name of ['ca', 'bundle', 'cert', 'key'] as const) {
    const file = section[name];
    if (typeof file !== 'string') continue;
    try {
      pems[name] = readFileBoundedSync(file);
    } catch (error) {
      problems.push({ path: `${path}.${name}`, message: `the file cannot be read (${whyUnreadable(error)})` });
    }
  }
  if (problems.length > 0) return problems;
  const { cert, key, ...authorities } = pems;
  if (cert !== undefined && key !== undefined) problems.push(...problemOf(path, 'certificate and key cannot be used together: ', () => refuseUnlessPair(cert, key)));
  for (const [name, pem] of Object.entries(authorities)) problems.push(...problemOf(`${path}.${name}`, '', () => refuseUnlessAuthorities(pem)));
  return problems;
}

function problemOf(path: string, what: string, check: () => void): Problem[] {
  try {
    check();
    return [];
  } catch (error) {
    return [{ path, message: what + (error as Error).message }];
  }
}
