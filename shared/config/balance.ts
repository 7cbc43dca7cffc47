import { z } from 'zod';
import { duration } from './units.js';

/*
 * How an upstream's endpoint is chosen. Defaults are Envoy's: panic at 50 %, over-provisioning by 1.4, slow start from 10 %
 * with aggression 1.
 */

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Labels that an endpoint must have, all of them. */
export const subsetSchema = z
  .record(z.string().min(1).max(63), z.string().max(63))
  .refine((labels) => Object.keys(labels).length > 0, { error: 'expected at least one label' })
  .describe('Only endpoints with all these labels, such as { version: v2 }.');
export type Subset = z.output<typeof subsetSchema>;

const hashSchema = z.union([
  z.enum(['ip', 'path']),
  z.strictObject({ header: z.string().regex(token, 'expected the name of a field').transform((name) => name.toLowerCase()) }),
  z.strictObject({
    cookie: z.string().regex(token, 'expected the name of a cookie'),
    ttl: duration.optional().describe('The proxy sets the cookie where it is missing, to last so long; 0: as long as the browser runs. Without it the cookie is only read.'),
    path: z.string().regex(/^\/[!-:<-~]*$/, 'expected a path').default('/').describe('`Path` of the cookie that is set.'),
  }),
]);
export type HashConfig = z.output<typeof hashSchema>;

const slowStartSchema = z.strictObject({
  window: duration.default(30_000).describe('How long an endpoint that is new, or healthy again, gets less than its weight.'),
  minWeight: z.number().min(1).max(100).default(10).describe('Percentage of its weight that it starts with.'),
  aggression: z.number().min(0.1).max(10).default(1).describe('1: its share grows evenly; above 1 fast at first, below 1 slowly at first.'),
});
export type SlowStartConfig = z.output<typeof slowStartSchema>;

export const balanceSchema = z
  .strictObject({
    algorithm: z.enum(['peak-ewma', 'round-robin', 'least-request', 'random', 'ring-hash']).default('peak-ewma'),
    hash: hashSchema.optional().describe('ring-hash: what keeps a request on its endpoint: ip, path, { header: NAME } or { cookie: NAME, ttl }.'),
    boundedLoad: z.number().min(1.05).max(10).optional().describe('ring-hash: no endpoint gets more than this times its share of what is in flight; 1.25 is usual. Without it there is no bound.'),
    slowStart: slowStartSchema.optional(),
    panicThreshold: z.number().min(0).max(100).default(50).describe('Percentage of healthy endpoints below which health is ignored, since the few would not bear the load of all; 0: never.'),
    overprovisioning: z.number().min(1).max(10).default(1.4).describe('An own zone or a priority gives traffic away when its healthy share times this falls below 1.'),
    zoneAware: z.boolean().default(true).describe('Whether endpoints of the proxy’s own zone go before others of their priority. Without a zone of its own nothing does.'),
    subset: subsetSchema.optional(),
    subsetFallback: z.enum(['none', 'any']).default('none').describe('What a request gets whose subset has no endpoints: none (503) or any of the upstream’s.'),
  })
  .refine(({ algorithm, hash }) => algorithm !== 'ring-hash' || hash !== undefined, { path: ['hash'], error: 'ring-hash needs to know what to hash: ip, path, { header: NAME } or { cookie: NAME }' })
  .refine(({ algorithm, hash }) => algorithm === 'ring-hash' || hash === undefined, { path: ['hash'], error: 'only ring-hash uses it' })
  .refine(({ algorithm, boundedLoad }) => algorithm === 'ring-hash' || boundedLoad === undefined, { path: ['boundedLoad'], error: 'only ring-hash uses it' })
  .refine(({ algorithm, slowStart }) => algorithm !== 'ring-hash' || slowStart === undefined, { path: ['slowStart'], error: 'ring-hash has no slow start: keys stay where they are' });
export type BalanceConfig = z.output<typeof balanceSchema>;
