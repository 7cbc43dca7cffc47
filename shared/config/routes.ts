import { z } from 'zod';
import { valueMatchSchema } from './value-match.js';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** What a request must carry; beside a route's path, host and method, or to be given a fault. */
export const valueConditions = {
  headers: z.record(z.string().regex(token), valueMatchSchema).optional().describe('Fields, and what their values must be.'),
  cookies: z.record(z.string().regex(token), valueMatchSchema).optional().describe('Cookies, and what their values must be.'),
  query: z.record(z.string().min(1).max(128), valueMatchSchema).optional().describe('Query parameters, and what their values, decoded, must be.'),
};

/** What a request must look like to take a route. */
export const matchSchema = z.strictObject({
  path: z.string().startsWith('/').default('/').describe('Path prefix, on a segment boundary; the longest match wins.'),
  host: z.string().min(1).optional().describe('Host name, or *.suffix; without it any.'),
  method: z.union([z.string().regex(token), z.array(z.string().regex(token)).min(1)]).optional(),
  ...valueConditions,
});
