import { z } from 'zod';
import { grpcConditions } from '../grpc/conditions.js';
import { authorizationSchema } from './authorization.js';
import { healthPolicies } from './health.js';
import { method } from './method.js';
import { adaptiveConcurrencySchema, hedgeSchema, retryBudgetSchema } from './resilience.js';
import { duration, durationFrom, openUrl, size } from './units.js';

/*
 * What each policy may be told. The schemas are here, apart from the policies, because both proxies
 * and the control plane validate the same documents.
 */

/** Signature algorithms of RFC 7518 and RFC 8037 that prove who signed; never `none`, never a shared secret. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;

export const jwtSchema = z
  .strictObject({
    issuer: z.string().min(1).describe('The `iss` claim that a token must carry.'),
    audience: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe('`aud` must contain one of these.'),
    jwksUri: openUrl.optional().describe('Where the issuer publishes its keys (RFC 7517).'),
    jwks: z
      .union([z.string().min(1), z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })) })])
      .optional()
      .describe('The key set itself, or the path of a file that holds it, which is read again when it changes.'),
    algorithms: z.array(z.enum(algorithms)).min(1).default(['RS256', 'ES256', 'EdDSA']),
    requiredScopes: z.array(z.string().min(1)).default([]).describe('All must be in `scope` or `scp`.'),
    clockTolerance: duration.default(5_000).describe('Tolerated difference of clocks for `exp` and `nbf`.'),
    cooldown: duration.default(30_000).describe('Least time between two fetches for an unknown `kid`.'),
    cacheMaxAge: durationFrom(1_000).default(600_000).describe('Age at which a key set that was used is fetched anew, whether anybody asks or not; old keys serve while that fails.'),
    fetchTimeout: durationFrom(1).default(5_000).describe('How long one fetch of the key set may take.'),
  })
  .refine((jwt) => (jwt.jwksUri === undefined) !== (jwt.jwks === undefined), {
    message: 'exactly one of jwksUri and jwks is needed',
  });
export type JwtConfig = z.output<typeof jwtSchema>;

export const rateLimitSchema = z.strictObject({
  max: z.int().positive().describe('Requests that one key may make in a window.'),
  timeWindow: durationFrom(1).default(60_000).describe('Length of the window.'),
  key: z
    .string()
    .regex(/^(ip|sub|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$/, 'expected ip, sub or header:NAME')
    .default('ip')
    .describe('What shares a quota: `ip` (client address), `sub` (subject of the token) or `header:NAME`: a request that has that field more than once is refused with 400, and what may be read as it (`_` for `-`) is removed. Those without subject or field share by address.'),
  headers: z
    .enum(['draft', 'legacy', 'both', 'none'])
    .default('draft')
    .describe('`draft`: RateLimit and RateLimit-Policy, with an item named `default`, or, behind those that the answer has already, as the listener: `edge` or `inbound`. `legacy`: RateLimit-Limit, -Remaining and -Reset, unless the answer has them already and says that less is left.'),
  maxKeys: z.int().positive().default(10_000).describe('Keys that are remembered; the least recently used is forgotten first.'),
  failOpen: z.boolean().default(false).describe('Whether requests pass when the counter cannot be asked: with workers the front process, which has 500 ms to answer. Default: they are refused with 503.'),
});
export type RateLimitConfig = z.output<typeof rateLimitSchema>;

const retryConditions = ['connect-failure', 'refused', 'reset', 'timeout', '5xx', 'gateway-error', 'retriable-4xx'] as const;

export const retrySchema = z.strictObject({
  attempts: z.int().min(1).max(10).default(2).describe('Attempts in all, the first included; 1: no retry.'),
  on: z
    .array(z.union([z.enum([...retryConditions, ...grpcConditions]), z.int().min(400).max(599)]))
    .default(['connect-failure', 'refused', 'reset', 'gateway-error'])
    .describe('What is tried again; see docs/policies/retries.md. `gateway-error` is 502, 503 and 504, `retriable-4xx` is 409, a number is that status; `unavailable` and the like are statuses of gRPC, for which `methods` does not count.'),
  methods: z.array(method).default(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']).describe('Methods that may be tried again after something was sent.'),
  idempotencyKey: z.boolean().default(false).describe('Whether a request with an Idempotency-Key may be tried again whatever its method: the upstream must recognise the key.'),
  whenRetried: z
    .enum(['once', 'allow'])
    .default('once')
    .describe('What becomes of a request that is itself a retry of a proxy in front: `once` sends it once, so that retries of layers do not multiply; `allow` tries it again as any other.'),
  backoff: z
    .strictObject({ base: duration.default(25), max: duration.default(250) })
    .prefault({})
    .describe('Full jitter: before retry n a random wait of 0 to min(max, base × 2^(n-1)).'),
  maxRetryAfter: duration.default(2_500).describe('The longest Retry-After that is waited for; a longer one goes to the client with its answer. 0: none is.'),
  budget: retryBudgetSchema.optional().describe('Bounds retries and hedges together. All routes to an upstream share the upstream’s, but for those that have one of their own.'),
  maxBodyBytes: size.default(65_536).describe('A request body is kept up to this size so that it can be sent again; 0: none is.'),
});
export type RetryConfig = z.output<typeof retrySchema>;

export const breakerSchema = z.strictObject({
  errorThreshold: z.number().min(1).max(100).default(50).describe('Percentage of failures at which it opens.'),
  volumeThreshold: z.int().min(1).default(5).describe('Requests in the window before it may open.'),
  window: durationFrom(1).default(10_000).describe('The rolling window that failures are counted in.'),
  resetTimeout: duration.default(5_000).describe('How long it stays open before it lets one probe through.'),
});
export type BreakerConfig = z.output<typeof breakerSchema>;

/** The policies that decide whether a request is let in; where a route or an inbound listener has them. */
export const admissionPolicies = {
  jwt: jwtSchema.optional(),
  authorization: authorizationSchema.optional(),
  rateLimit: rateLimitSchema.optional(),
  adaptiveConcurrency: adaptiveConcurrencySchema.optional().describe('Sheds what the service cannot take; its limit is measured.'),
};

/** The policies that govern how a request is sent to an upstream. */
export const upstreamPolicies = {
  timeout: durationFrom(1).optional().describe('Time for the response to start, over all attempts, without that in which the client was awaited to send its body; default 15s.'),
  attemptTimeout: durationFrom(1).optional().describe('Time for the response of one attempt to start, likewise; default: the timeout.'),
  retry: retrySchema.optional(),
  hedge: hedgeSchema.optional().describe('A second attempt for reads that take unusually long; the first answer wins.'),
  propagateDeadline: z.boolean().optional().describe('Whether upstreams are told, in X-Envoy-Expected-Rq-Timeout-Ms, how long their answer is waited for. Default: where a caller has said it, or a timeout is configured.'),
  breaker: breakerSchema.optional(),
  ...healthPolicies,
};
