import { z } from 'zod';
import { admissionPolicies, upstreamPolicies } from '../shared/config/policies.js';
import { limitsSchema, processSections, tlsListenSchema, upstreamsSchema } from '../shared/config/sections.js';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export const routeSchema = z.strictObject({
  name: z.string().min(1).optional().describe('Name in logs and metrics; default: its host and path.'),
  match: z
    .strictObject({
      path: z.string().startsWith('/').default('/').describe('Path prefix, on a segment boundary; the longest match wins.'),
      host: z.string().min(1).optional().describe('Host name, or *.suffix; without it any.'),
      method: z.union([z.string().regex(token), z.array(z.string().regex(token)).min(1)]).optional(),
      headers: z.record(z.string().regex(token), z.string()).optional().describe('Fields and the exact values they must have.'),
    })
    .prefault({}),
  upstream: z.string().min(1).describe('Name of one of `upstreams`.'),
  ...admissionPolicies,
  timeout: upstreamPolicies.timeout,
  retry: upstreamPolicies.retry,
});
export type RouteConfig = z.output<typeof routeSchema>;

/** What a snapshot of the control plane may replace while the gateway runs. */
export const gatewayDynamicSchema = z.strictObject({
  routes: z.array(routeSchema).default([]),
  upstreams: upstreamsSchema.default({}),
});
export type GatewayDynamicConfig = z.output<typeof gatewayDynamicSchema>;

export const gatewaySchema = z.strictObject({
  listen: tlsListenSchema,
  ...gatewayDynamicSchema.shape,
  limits: limitsSchema.prefault({}),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('Addresses or CIDRs whose X-Forwarded-* fields are believed; from all others they are removed.'),
  ...processSections,
});
export type GatewayConfig = z.output<typeof gatewaySchema>;
