import { z } from 'zod';
import { subsetSchema } from './balance.js';
import { pattern } from './patterns.js';
import { upstreamPolicies } from './policies.js';
import { matchSchema, valueConditions } from './routes.js';
import { duration, durationFrom, size } from './units.js';
import { fieldKind, kindsOf } from '../http/field-names.js';
import { parseTarget } from '../http1/target.js';

/*
 * What routes do with traffic: where it goes, what is changed on the way, what is copied and what is broken on purpose.
 * One schema for the gateway's routes, the sidecar's outbound routes, and, in part, what comes in to an application.
 */

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const percent = z.number().min(0).max(100);
const upstreamName = z.string().min(1);
const hostForm = z.string().regex(/^(\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:\d{1,5})?$/, 'expected a lower-case host, with or without a port');

/** A path as it goes upstream: what a client's would be made of, so that nothing need be done to it again. */
const pathForm = z
  .string()
  .max(1_024)
  .regex(/^\/([\w!$&'()*+,;=:@~./-]|%[0-9A-Fa-f]{2})*$/, 'expected a path that starts with /, without query and fragment, what is not allowed in it escaped')
  .refine(isNormal, { error: 'expected a path in normal form: no dot segments, no //, no encoded slash, backslash or NUL, escapes in upper case and only where they are needed' });

function isNormal(path: string): boolean {
  try {
    return parseTarget(path, 'GET').target === path;
  } catch {
    return false;
  }
}

export const splitSchema = z
  .array(
    z.strictObject({
      upstream: upstreamName.describe('Name of one of `upstreams`.'),
      weight: z.int().min(0).max(1_000_000).describe('Share of the requests, relative to the other sides; 0: none.'),
    }),
  )
  .min(1)
  .max(16)
  .refine((sides) => sides.some(({ weight }) => weight > 0), { error: 'at least one side needs a weight above 0' })
  .refine((sides) => new Set(sides.map(({ upstream }) => upstream)).size === sides.length, { error: 'each upstream may be one side only' })
  .describe('Sends each request to one of several upstreams, by weight; chosen once a request, whatever is retried.');
export type SplitConfig = z.output<typeof splitSchema>;

export const stickySchema = z
  .strictObject({
    header: z.string().regex(token).optional().describe('Requests with the same value of this field go to the same side.'),
    cookie: z.string().regex(token).optional().describe('Requests with the same value of this cookie go to the same side.'),
    ip: z.literal(true).optional().describe('Requests of the same client address go to the same side.'),
    ttl: duration.optional().describe('With cookie: a client without the cookie gets one that lasts this long; 0: until its browser is closed. Default: it gets none.'),
  })
  .refine(({ header, cookie, ip }) => [header, cookie, ip].filter((key) => key !== undefined).length === 1, { error: 'exactly one of header, cookie and ip is needed' })
  .refine(({ cookie, ttl }) => ttl === undefined || cookie !== undefined, { path: ['ttl'], error: 'is for cookie only' })
  .describe('Keeps what belongs together on one side of a split. A request without the key is sent by chance.');
export type StickyConfig = z.output<typeof stickySchema>;

export const mirrorSchema = z.strictObject({
  upstream: upstreamName.describe('Name of one of `upstreams`, which gets the copies.'),
  percent: percent.default(100).describe('Share of the requests that are copied.'),
  maxBodyBytes: size.default(65_536).describe('A request with a larger body is not copied.'),
  maxInFlight: z.int().positive().max(10_000).default(100).describe('Copies at a time; beyond it requests are not copied.'),
  timeout: durationFrom(1).default(5_000).describe('How long a copy may take, its answer included.'),
});
export type MirrorConfig = z.output<typeof mirrorSchema>;

export const faultSchema = z
  .strictObject({
    delay: z
      .strictObject({ fixed: duration.describe('How long the request is held.'), percent: percent.default(100).describe('Share of the requests.') })
      .optional()
      .describe('Holds requests before they are sent on.'),
    abort: z
      .strictObject({ status: z.int().min(400).max(599).describe('The status of the answer.'), percent: percent.default(100).describe('Share of the requests, of those that were held too.') })
      .optional()
      .describe('Answers requests with fault_injected instead of sending them on.'),
    ...valueConditions,
    maxActive: z.int().positive().max(100_000).default(1_000).describe('Requests that are held at a time; beyond it they pass without a fault.'),
  })
  .refine(({ delay, abort }) => delay !== undefined || abort !== undefined, { error: 'delay, abort or both are needed' })
  .describe('Breaks a share of the requests on purpose: those that match headers, cookies and query, or of all.');
export type FaultConfig = z.output<typeof faultSchema>;

export const rewriteSchema = z
  .strictObject({
    prefix: pathForm.optional().describe('Takes the place of the part of the path that match.path matched.'),
    path: pathForm.optional().describe('Takes the place of the whole path.'),
    regex: z
      .strictObject({
        pattern: pattern.describe('What is looked for in the path, without its query; the first place where it matches is replaced.'),
        substitution: z
          .string()
          .max(1_024)
          .regex(/^([\w!&'()*+,;=:@~./-]|%[0-9A-F]{2}|\$\d)*$/, 'expected text that may stand in a path, and $0 to $9 for what the pattern’s groups matched')
          .refine((text) => (text.match(/\$\d/g) ?? []).length <= 8, { error: 'at most 8 groups may be referred to' })
          .refine((text) => !/%(?:00|2F|5C)|\/\/|(?:^|\/)\.{1,2}(?:[/;]|$)/.test(text), { error: 'must not contain //, dot segments, or an encoded slash, backslash or NUL' }),
      })
      .optional(),
    host: hostForm.optional().describe('The Host that the upstream gets.'),
  })
  .refine(({ prefix, path, regex }) => [prefix, path, regex].filter((way) => way !== undefined).length <= 1, { error: 'at most one of prefix, path and regex can be used' })
  .refine((rewrite) => Object.values(rewrite).some((way) => way !== undefined), { error: 'at least one of prefix, path, regex and host is needed' })
  .describe('Changes path or host before the request is sent on. Routes, policies and the access log see the request as it came. The query stays.');
export type RewriteConfig = z.output<typeof rewriteSchema>;

const fieldNameForm = z
  .string()
  .max(128)
  .regex(token, 'expected the name of a field')
  .refine((name) => !isFraming(name), { error: ({ input }) => `is not to be changed: ${String(input)} frames or routes a message, or concerns one connection (for Host there is rewrite.host)` });
const fieldValue = z.string().max(4_096).regex(/^(?:[!-~](?:[\t -~]*[!-~])?)?$/, 'expected a field’s value: printable ASCII, without spaces around it');

function isFraming(name: string): boolean {
  const lower = name.toLowerCase();
  return (kindsOf(lower) & fieldKind.hopByHop) !== 0 || ['host', 'content-length', 'trailer', 'expect', 'max-forwards'].includes(lower);
}

const changesSchema = z
  .strictObject({
    remove: z.array(fieldNameForm).max(64).default([]).describe('Fields that are removed; of a request also what is written with _ in place of -, as X_Tenant for X-Tenant.'),
    set: z.record(fieldNameForm, fieldValue).default({}).describe('Fields that get this value, in place of any other; of a request also in place of what is written with _ in place of -, or the other way round.'),
    add: z.record(fieldNameForm, fieldValue).default({}).describe('Fields that are added to those that are there.'),
  })
  .refine(({ remove, set, add }) => new Set([...remove, ...Object.keys(set), ...Object.keys(add)].map((name) => name.toLowerCase())).size === remove.length + Object.keys(set).length + Object.keys(add).length, {
    error: 'each field may be named once only',
  });
export type HeaderChangesConfig = z.output<typeof changesSchema>;

export const headersSchema = z
  .strictObject({
    request: changesSchema.optional().describe('What is changed in the request before it is sent on.'),
    response: changesSchema.optional().describe('What is changed in the answer; not in errors of this proxy.'),
  })
  .describe('Header fields that are set, added and removed.');
export type HeadersConfig = z.output<typeof headersSchema>;

export const redirectSchema = z
  .strictObject({
    status: z.union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)]).default(302),
    scheme: z.enum(['http', 'https']).optional().describe('Default: as the request.'),
    host: hostForm.optional().describe('Default: as the request; then, with scheme, without its port.'),
    path: pathForm.optional().describe('Takes the place of the whole path.'),
    prefix: pathForm.optional().describe('Takes the place of the part of the path that match.path matched.'),
    query: z.enum(['keep', 'drop']).default('keep').describe('What becomes of the query.'),
  })
  .refine(({ path, prefix }) => path === undefined || prefix === undefined, { error: 'path and prefix cannot be used together' })
  .refine(({ scheme, host, path, prefix }) => [scheme, host, path, prefix].some((part) => part !== undefined), { error: 'at least one of scheme, host, path and prefix is needed: it would lead to itself' })
  .describe('Answers with a redirect instead of sending the request on.');
export type RedirectConfig = z.output<typeof redirectSchema>;

export const respondSchema = z
  .strictObject({
    status: z.int().min(200).max(599).default(200),
    body: z.string().max(65_536).default('').describe('Text of the answer.'),
    contentType: fieldValue.min(1).default('text/plain; charset=utf-8').describe('Content-Type of a body.'),
  })
  .refine(({ status, body }) => body === '' || ![204, 205, 304].includes(status), { path: ['body'], error: 'an answer of this status has none' })
  .describe('Answers by itself instead of sending the request on.');
export type RespondConfig = z.output<typeof respondSchema>;

/** What may be done with requests on their way, in both proxies; an application's own sidecar has part of it. */
export const shapingPolicies = {
  fault: faultSchema.optional(),
  headers: headersSchema.optional(),
  rewrite: rewriteSchema.optional(),
  mirror: mirrorSchema.optional(),
};

/** What may be done with requests of a service, wherever they are sent from: where there are no routes' paths. */
export const servicePolicies = {
  fault: shapingPolicies.fault,
  headers: shapingPolicies.headers,
  mirror: shapingPolicies.mirror,
  split: splitSchema.optional(),
  sticky: stickySchema.optional(),
};

/** A route of either proxy, but for the policies that only one of them has. */
export const routeShape = {
  name: z.string().min(1).optional().describe('Name in logs and metrics, where routes of one name are shown together; each has its own quota and limits all the same. Default: its method, host, path and the names of its conditions.'),
  match: matchSchema.prefault({}),
  upstream: upstreamName.optional().describe('Name of one of `upstreams`. A route has this, split, redirect or respond.'),
  subset: subsetSchema.optional(),
  split: servicePolicies.split,
  sticky: servicePolicies.sticky,
  redirect: redirectSchema.optional(),
  respond: respondSchema.optional(),
  ...shapingPolicies,
  timeout: upstreamPolicies.timeout,
  retry: upstreamPolicies.retry,
  hedge: upstreamPolicies.hedge,
};
export const shapedRouteSchema = z.strictObject(routeShape);
/** As much of a route as both proxies know. */
export type ShapedRoute = z.output<typeof shapedRouteSchema>;
