import { z } from 'zod';
import { parseSpiffeId } from '../identity/spiffe.js';
import { canonicalHost } from './host.js';
import { method } from './method.js';
import { pattern } from './patterns.js';
import { valueConditions } from './routes.js';
import { isNormalPath, network, notNormal } from './units.js';

/*
 * Who may do what. What a rule says is close to Istio's AuthorizationPolicy, with two differences: what happens to a request that no
 * rule matches is said (`default`), not concluded from whether there are allow rules; and a name that nobody could ever match is refused.
 */

const maxRules = 256;
const maxValues = 256;
const listOf = <T extends z.ZodType>(value: T) => z.array(value).min(1).max(maxValues);

const identity = z
  .string()
  .refine(isIdentity, { error: 'expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE, or the beginning of such names up to a slash and then *' })
  .describe('SPIFFE name of a workload; or spiffe://shop/ns/default/sa/*, spiffe://shop/* and the like for all that begin so.');

function isIdentity(text: string): boolean {
  // Only behind a slash: spiffe://shop* would be spiffe://shop.example too.
  if (!text.endsWith('/*')) return parseSpiffeId(text) !== undefined;
  const rest = ['/ns/x/sa/x', '/x/sa/x', '/sa/x', '/x'];
  return rest.some((end) => parseSpiffeId(text.slice(0, -2) + end) !== undefined);
}

const part = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected a lower-case name of letters, digits and hyphens');

/** Where a request comes from. What is read from a certificate is unknown for callers that have proven none. */
const sourceConditions = {
  identities: listOf(identity).optional().describe('The caller is one of these, as its certificate of the mesh proves.'),
  notIdentities: listOf(identity).optional().describe('The caller is none of these.'),
  namespaces: listOf(part).optional().describe('The namespace in the caller’s name is one of these, in whatever trust domain.'),
  notNamespaces: listOf(part).optional(),
  services: listOf(part).optional().describe('The service in the caller’s name is one of these, in whatever namespace.'),
  notServices: listOf(part).optional(),
  addresses: listOf(network).optional().describe('The client’s address is one of these; of a proxy that is trusted to say who its client is, that client’s.'),
  notAddresses: listOf(network).optional(),
};
const source = z.strictObject(sourceConditions).refine((from) => Object.values(from).some((value) => value !== undefined), { error: 'at least one condition is needed' });

/** Written as it reads: requests are compared decoded, so that no escape tells two spellings of one path apart. */
const plainPath = z
  .string()
  .max(1_024)
  .regex(/^\/[^?#;%\\\u0000-\u001f\u007f]*$/, 'expected a path that starts with /, written as it reads: no escapes, no query, no parameters')
  .refine(isNormalPath, { error: notNormal });

const path = z.union([
  plainPath
    .refine((text) => !text.replace(/\/\*$/, '').includes('*'), { error: 'may have * only as its last part; { regex: … } can say more' })
    .describe('/stock: it and everything below, as in a route; /stock/*: only what is below.'),
  z
    .strictObject({ exact: plainPath.optional().describe('This path alone; with a slash behind it, it is another.'), regex: pattern.optional().describe('A pattern that the whole path matches.') })
    .refine((match) => Object.values(match).filter((value) => value !== undefined).length === 1, { error: 'exactly one of exact and regex is needed' }),
]);
export type PathMatch = z.output<typeof path>;

const host = z.string().regex(/^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$|^\[[0-9a-f:.]{2,45}\]$/, 'expected a lower-case host without port, or *.suffix').transform((host) => canonicalHost(host) ?? host);
const claimValue = z.union([z.string().max(1_024), z.number(), z.boolean()]);
const claims = z
  .record(z.string().min(1).max(256), z.union([claimValue, listOf(claimValue)]))
  .refine((entries) => Object.keys(entries).length > 0, { error: 'at least one claim is needed' });

const requestConditions = {
  methods: listOf(method).optional(),
  notMethods: listOf(method).optional(),
  paths: listOf(path).optional().describe('The path, normalised and decoded, without parameters, is one of these. In capitals it is another.'),
  notPaths: listOf(path).optional(),
  hosts: listOf(host).optional().describe('The host that is asked for, without port, is one of these.'),
  notHosts: listOf(host).optional(),
  headers: valueConditions.headers.describe('Fields, and what their values must be. Of one that comes several times, all must be so in an allow rule, and any in a deny rule. What is written with _ in place of -, as X_Internal for X-Internal, is removed before the rules are asked.'),
  claims: claims.optional().describe('Each claim has one of these values, or is a list with one of them. realm.roles is the claim roles within the claim realm; scope and scp are the same: the words of both claims, each a text or a list.'),
  notClaims: claims.optional().describe('Each of these claims has none of these values; it may be missing.'),
};

const outline = {
  name: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/, 'expected a lower-case name')
    .refine((text) => text !== 'default', { error: 'is what is said of requests that no rule matches' })
    .describe('What log and metrics call the rule.'),
  action: z.enum(['allow', 'deny']),
  dryRun: z.boolean().default(false).describe('The rule is tried only: log and metrics say what it would refuse.'),
  from: source.optional(),
};

const rules = <T extends z.ZodType>(rule: T) => ({
  default: z.enum(['allow', 'deny']).default('deny').describe('What becomes of a request that no rule matches.'),
  dryRun: z.boolean().default(false).describe('Nothing is refused: log and metrics say what would be.'),
  rules: z.array(rule).max(maxRules).default([]).describe('A deny rule that matches refuses, whatever else matches; then an allow rule that matches lets the request in. All conditions of a rule must hold.'),
});

export const authorizationSchema = z.strictObject(rules(z.strictObject({ ...outline, ...requestConditions }))).describe('Who may do what: by caller, method, path, fields and claims.');
export type AuthorizationConfig = z.output<typeof authorizationSchema>;
export type AuthorizationRule = AuthorizationConfig['rules'][number];

/** What can be asked of a connection on which anything may be spoken: where it comes from. */
export const streamAuthorizationSchema = z.strictObject(rules(z.strictObject(outline))).describe('Who may connect.');
