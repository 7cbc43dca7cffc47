import { z } from 'zod';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** What a request must look like to take a route. */
export const matchSchema = z.strictObject({
  path: z.string().startsWith('/').default('/').describe('Path prefix, on a segment boundary; the longest match wins.'),
  host: z.string().min(1).optional().describe('Host name, or *.suffix; without it any.'),
  method: z.union([z.string().regex(token), z.array(z.string().regex(token)).min(1)]).optional(),
  headers: z.record(z.string().regex(token), z.string()).optional().describe('Fields and the exact values they must have.'),
});
