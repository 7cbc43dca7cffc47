import { z } from 'zod';
import { method } from './method.js';
import { duration, durationFrom } from './units.js';

/*
 * What hedging and the adaptive concurrency limit may be told; beside policies.ts, because both proxies and the control
 * plane validate the same documents.
 */

export const retryBudgetSchema = z.strictObject({
  ratio: z.number().min(0).max(1).default(0.2).describe('Retries allowed as a share of requests; 0: only minPerSecond.'),
  minPerSecond: z.number().min(0).default(10).describe('Retries a second that are allowed in any case; 0: none but the share.'),
  window: durationFrom(1).default(10_000).describe('How long a request counts.'),
});
export type RetryBudgetConfig = z.output<typeof retryBudgetSchema>;

export const hedgeSchema = z
  .strictObject({
    percentile: z.number().min(50).max(99.9).optional().describe('A further attempt is made when the answer takes longer than this percentage of recent ones did.'),
    delay: duration.optional().describe('A further attempt is made after this time; instead of percentile. 0: within a millisecond.'),
    maxAttempts: z.int().min(2).max(5).default(2).describe('Attempts that may be under way at a time, the first included; each waits for its turn.'),
    methods: z.array(method).min(1).default(['GET', 'HEAD']).describe('Only requests that may be made twice.'),
    minDelay: duration.default(1).describe('With percentile: the least wait, whatever the percentile is. 0: none.'),
  })
  .refine(({ percentile, delay }) => (percentile === undefined) !== (delay === undefined), { error: 'exactly one of percentile and delay is needed' });
export type HedgeConfig = z.output<typeof hedgeSchema>;

const level = z.string().regex(/^[\w.-]{1,32}$/, 'expected letters, digits, dots and hyphens');

const prioritySchema = z
  .strictObject({
    header: z
      .string()
      .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'expected a field name')
      .default('X-Request-Priority')
      .describe('The field in which a trusted caller names the level of its request.'),
    levels: z.record(level, z.number().gt(0).max(1)).describe('Share of the limit that each level may use: at 0.5, its requests are shed once half of the limit is in use.'),
    default: level.describe('The level of requests that name none, or none that exists.'),
  })
  .refine(({ levels }) => Object.keys(levels).length <= 8, { path: ['levels'], error: 'expected at most 8 levels' })
  .refine(({ levels }) => Object.values(levels).includes(1), { path: ['levels'], error: 'one level must have the share 1, or the limit is never used up' })
  .refine(({ levels, default: fallback }) => Object.hasOwn(levels, fallback), { path: ['default'], error: 'is none of the levels' });

export const adaptiveConcurrencySchema = z
  .strictObject({
    minLimit: z.int().min(1).default(3).describe('The limit is never lower.'),
    maxLimit: z.int().min(1).max(100_000).default(1_000).describe('The limit is never higher.'),
    initialLimit: z.int().min(1).default(20).describe('The limit before anything is known.'),
    tolerance: z.number().min(1).max(10).default(1.5).describe('How much slower than unloaded an answer may be before the limit is lowered; 1.5 is half as slow again.'),
    window: duration.default(100).describe('How often the limit is looked at, given ten answers.'),
    remeasureInterval: durationFrom(1).default(60_000).describe('Under unbroken load the limit goes down to minLimit this often, for at most 50 answers or 1 s, to see how fast an unloaded answer is.'),
    priority: prioritySchema.optional().describe('Lower levels are shed first; without it all requests are equal.'),
  })
  .refine(({ minLimit, maxLimit }) => minLimit <= maxLimit, { path: ['minLimit'], error: 'is higher than maxLimit' })
  .refine(({ minLimit, maxLimit, initialLimit }) => initialLimit >= minLimit && initialLimit <= maxLimit, { path: ['initialLimit'], error: 'is not between minLimit and maxLimit' });
export type AdaptiveConcurrencyConfig = z.output<typeof adaptiveConcurrencySchema>;

/** Level of a route's requests, whatever their callers say. */
export const routePriority = level.optional().describe('Level of all requests of this route for adaptiveConcurrency, here and, in X-Request-Priority, in the proxies behind.');
