import { z } from 'zod';
import { canonicalHost } from './host.js';
import { method } from './method.js';
import { isNormalPath, notNormal } from './units.js';
import { valueMatchSchema } from './value-match.js';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** What a request must carry; beside a route's path, host and method, or to be given a fault. */
export const valueConditions = {
  headers: z.record(z.string().regex(token), valueMatchSchema).optional().describe('Fields, and what their values must be.'),
  cookies: z.record(z.string().regex(token), valueMatchSchema).optional().describe('Cookies, and what their values must be.'),
  query: z.record(z.string().min(1).max(128), valueMatchSchema).optional().describe('Query parameters, and what their values, decoded, must be.'),
};

/** Compared decoded, as its server will read it: written as it reads, or with escapes. What no request has by the time it is looked at would never match. */
const pathPrefix = z
  .string()
  .regex(/^\/[^?#;\\\u0000-\u001f\u007f]*$/, 'expected a path that starts with /, without query, fragment, parameters or backslash')
  .refine(isNormalPath, { error: notNormal })
  .refine((path) => !/%(?![0-9a-f]{2})|%(?:2f|5c|00)/i.test(path), { error: 'must not contain %2F, %5C or %00, with which requests are refused, nor a % that is no escape' });

/** What a request must look like to take a route. */
export const matchSchema = z.strictObject({
  path: pathPrefix.default('/').describe('Path prefix, on a segment boundary; the longest match wins. Compared decoded: no escape gets around it.'),
  host: z.string().min(1).transform((host) => canonicalHost(host) ?? host).optional().describe('Host name, or *.suffix; without it any.'),
  method: z.union([method, z.array(method).min(1)]).optional(),
  ...valueConditions,
});
