import { z } from 'zod';
import { durationFrom } from './units.js';

/*
 * How the endpoints of an upstream are watched, and what is asked of them at most. Which defaults are whose:
 * docs/policies/health.md.
 */

const statusRange = z
  .union([z.int().min(100).max(599), z.string()])
  .transform((value, context): readonly [from: number, to: number] => {
    const match = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(String(value));
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (from <= to) return [from, to];
    context.addIssue({ code: 'custom', message: `expected a status such as 200 or a range such as 200-299, got ${JSON.stringify(value)}`, input: value });
    return z.NEVER;
  });

const fieldName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'expected the name of a field');
const fieldValue = z.string().regex(/^[\t\x20-\x7e]*$/, 'expected printable ASCII');

export const healthCheckSchema = z
  .strictObject({
    path: z.string().regex(/^\/[\x21-\x7e]*$/, 'expected a path without spaces').optional().describe('Asked over HTTP; without it a connection (and its TLS handshake) is enough.'),
    host: z.string().regex(/^[\x21-\x7e]+$/).optional().describe('The Host field of a check; default: the endpoint’s address.'),
    method: z.enum(['GET', 'HEAD', 'OPTIONS']).optional().describe('Default: GET.'),
    headers: z.record(fieldName, fieldValue).optional().describe('Further fields of a check.'),
    expectedStatuses: z.array(statusRange).min(1).optional().describe('Statuses, and ranges such as 200-299, that mean healthy; default: 200-399.'),
    interval: durationFrom(1).default(2_000).describe('Pause between two checks of an endpoint.'),
    unhealthyInterval: durationFrom(1).optional().describe('The pause while the endpoint is unhealthy; default: the interval.'),
    jitter: z.number().min(0).max(1).default(0.1).describe('Share of the pause by which it is randomly longer or shorter, so that proxies do not check in step.'),
    timeout: durationFrom(1).default(1_000).describe('How long a check may take, connection included.'),
    healthyThreshold: z.int().min(1).max(100).default(2).describe('Checks in a row that must pass before an unhealthy endpoint is used again.'),
    unhealthyThreshold: z.int().min(1).max(100).default(3).describe('Checks in a row that must fail before a healthy endpoint is left out.'),
    initial: z.enum(['healthy', 'unhealthy']).default('healthy').describe('What a new endpoint counts as until checks say otherwise; from unhealthy the first check that passes is enough.'),
  })
  .refine(({ path, host, method, headers, expectedStatuses }) => path !== undefined || [host, method, headers, expectedStatuses].every((value) => value === undefined), {
    path: ['path'],
    error: 'is missing; host, method, headers and expectedStatuses are for checks over HTTP',
  });
export type HealthCheckConfig = z.output<typeof healthCheckSchema>;

const inARow = (what: string, source: string) => z.int().min(0).max(10_000).describe(`${what} in a row at which an endpoint is ejected. 0: never for this. ${source}`);

export const outlierDetectionSchema = z
  .strictObject({
    consecutive5xx: inARow('Answers of 500 and above, and errors of the connection,', 'Default: 5.').default(5),
    consecutiveGatewayErrors: inARow('Answers 502, 503 and 504, and errors of the connection,', 'Default: 0.').default(0),
    consecutiveErrors: inARow('Errors of the connection alone (refused, reset, timed out, not HTTP)', 'Default: 0.').default(0),
    successRate: z
      .strictObject({
        minHosts: z.int().min(2).max(10_000).default(5).describe('Endpoints with enough requests that there must be before they are compared.'),
        minRequests: z.int().min(1).default(100).describe('Requests that an endpoint must have had in an interval to be compared.'),
        factor: z.number().min(0).max(100).default(1.9).describe('How many standard deviations below the mean success rate an endpoint is ejected.'),
      })
      .optional()
      .describe('Ejects endpoints that succeed notably less often than the others; off unless it is there.'),
    interval: durationFrom(1).default(10_000).describe('How often success rates are compared and ejected endpoints come back.'),
    baseEjectionTime: durationFrom(1).default(30_000).describe('How long an endpoint stays out, times how often it was ejected lately.'),
    maxEjectionTime: durationFrom(1).default(300_000).describe('The longest it stays out.'),
    maxEjectedPercent: z.number().min(0).max(100).default(10).describe('Share of the endpoints that may be out at a time; one may be in any case.'),
  })
  .refine(({ baseEjectionTime, maxEjectionTime }) => maxEjectionTime >= baseEjectionTime, { path: ['maxEjectionTime'], error: 'must not be less than baseEjectionTime' });
export type OutlierDetectionConfig = z.output<typeof outlierDetectionSchema>;

export const bulkheadSchema = z
  .strictObject({
    maxRequests: z.int().min(1).optional().describe('Requests in flight, bodies of answers included; beyond it 503 upstream_overloaded.'),
    maxConnections: z.int().min(1).optional().describe('Connections; at it a request waits for one that becomes free.'),
    maxPending: z.int().min(0).default(1_024).describe('Requests that wait for a connection; beyond it 503 upstream_overloaded.'),
    maxRetries: z.int().min(0).optional().describe('Retries at a time; beyond it the outcome stands as it is. 0: none.'),
  })
  .describe('Limits over all endpoints of the upstream together; what is not named has none.');
export type BulkheadConfig = z.output<typeof bulkheadSchema>;

/** What of this is a policy of an upstream. */
export const healthPolicies = {
  healthCheck: healthCheckSchema.optional().describe('Asks each endpoint again and again whether it is well.'),
  outlierDetection: outlierDetectionSchema.optional().describe('Leaves endpoints out for a while that fail where others do not.'),
  limits: bulkheadSchema.optional(),
};
