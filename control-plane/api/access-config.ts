import { z } from 'zod';
import { identityNameSchema, trustDomainSchema } from '../../shared/config/endpoints.js';
import { isObject } from '../../shared/config/is-object.js';
import type { Problem } from '../../shared/config/load.js';
import { readFileBoundedSync, whyUnreadable } from '../../shared/files/read-file.js';

/** What callers may do: read; read and change; or be a proxy, which sees its own snapshot and registers its own instances. */
export const roles = ['read', 'write', 'proxy'] as const;
export type Role = (typeof roles)[number];

const minTokenLength = 16;
const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'expected letters, digits, dots, hyphens and underscores');
const service = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected the name of a service');

const tokenSchema = z
  .strictObject({
    name: name.describe('Who shows it; this name is in history and in the audit log.'),
    role: z.enum(roles),
    token: z.string().min(minTokenLength).max(4_096).optional().describe('The bearer token itself; better kept in a file.'),
    tokenFile: z.string().min(1).optional().describe('File with the token; read again when it changes.'),
    sha256: z.string().regex(/^[0-9a-f]{64}$/i, 'expected 64 hexadecimal digits').optional().describe('Digest of the token: who reads this file cannot show it.'),
    service: service.optional().describe('Role proxy: the service whose sidecars show it.'),
    gateway: z.literal(true).optional().describe('Role proxy: gateways show it.'),
    node: z.string().regex(/^[A-Za-z0-9._-]{1,128}$/).optional().describe('Role proxy: the one proxy that shows it; default: any of its service.'),
  })
  .refine(({ token, tokenFile, sha256 }) => [token, tokenFile, sha256].filter((each) => each !== undefined).length === 1, { error: 'exactly one of token, tokenFile and sha256 is needed' })
  .refine(({ role, service, gateway }) => role !== 'proxy' || (service === undefined) !== (gateway === undefined), { path: ['role'], error: 'a proxy’s token says whose it is: service or gateway' })
  .refine(({ role, service, gateway, node }) => role === 'proxy' || (service ?? gateway ?? node) === undefined, { path: ['role'], error: 'service, gateway and node are for role proxy' });

export const accessSchema = z.strictObject({
  trustDomain: trustDomainSchema.optional().describe('The mesh’s name in the certificates that callers show. Default: `ca.trustDomain`; needed where listen.tls.clientAuth asks for certificates and there is no `ca`.'),
  tokens: z
    .array(tokenSchema)
    .max(10_000)
    .default([])
    .refine((tokens) => new Set(tokens.map((token) => token.name)).size === tokens.length, { error: 'two tokens have the same name' }),
  identities: z
    .array(z.strictObject({ identity: identityNameSchema, role: z.enum(roles) }))
    .max(10_000)
    .default([])
    .describe('Callers by certificate (listen.tls.clientAuth). Any other certificate of a workload of this mesh has role proxy, for its own service.'),
});
export type AccessConfig = z.output<typeof accessSchema>;
export type TokenConfig = AccessConfig['tokens'][number];

/** What no schema of single values can see. Takes any documents, also wrong ones. */
export function checkAccess(access: unknown, listen: unknown, ca: unknown): Problem[] {
  const { host = '127.0.0.1', tls, allowPlaintext } = isObject(listen) ? listen : {};
  // https with a certificate of the mesh’s own authority.
  const servesMeshTls = isObject(ca) && ca['serve'] !== undefined;
  const asksForCertificates = isObject(tls) && isObject(tls['clientAuth']);
  const problems: Problem[] = [];
  if (!isLoopback(host)) {
    const where = `to listen on ${JSON.stringify(host)}`;
    if (access === undefined) problems.push({ path: 'access', message: `is needed ${where}: without it everybody may do everything, and only loopback is allowed` });
    if (tls === undefined && !servesMeshTls && allowPlaintext !== true) problems.push({ path: 'listen.tls', message: `is needed ${where}, since tokens would be sent in the clear; or say listen.allowPlaintext: true` });
  }
  if (isObject(access) && Array.isArray(access['identities']) && access['identities'].length > 0 && !servesMeshTls && !asksForCertificates) {
    problems.push({ path: 'access.identities', message: 'are callers by certificate, which listen.tls.clientAuth or ca.serve must ask for' });
  }
  if (isObject(access)) {
    const { trustDomain } = access;
    if (isObject(ca) && trustDomain !== undefined && trustDomain !== ca['trustDomain']) problems.push({ path: 'access.trustDomain', message: 'expected that of ca.trustDomain, or none: there is one mesh' });
    if (!isObject(ca) && trustDomain === undefined && asksForCertificates) problems.push({ path: 'access.trustDomain', message: 'is needed with listen.tls.clientAuth: what it asks for may vouch for workloads of other meshes too' });
  }
  const tokens: unknown[] = isObject(access) && Array.isArray(access['tokens']) ? access['tokens'] : [];
  tokens.forEach((token, index) => {
    if (isObject(token) && typeof token['tokenFile'] === 'string') problems.push(...checkFile(token['tokenFile'], `access.tokens[${index}].tokenFile`));
  });
  return problems;
}

export function isLoopback(host: unknown): boolean {
  return host === 'localhost' || host === '::1' || (typeof host === 'string' && host.startsWith('127.'));
}

function checkFile(file: string, path: string): Problem[] {
  try {
    const token = readFileBoundedSync(file).toString().trim();
    return token.length >= minTokenLength && !/\s/.test(token) ? [] : [{ path, message: `the file does not hold one token of at least ${minTokenLength} characters` }];
  } catch (error) {
    return [{ path, message: `the file cannot be read (${whyUnreadable(error)})` }];
  }
}
