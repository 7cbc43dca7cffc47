import { z } from 'zod';
import { subsetSchema } from '../shared/config/balance.js';
import { admissionPolicies, upstreamPolicies } from '../shared/config/policies.js';
import { matchSchema } from '../shared/config/routes.js';
import { limitsSchema, processSections, proxyListenSchema, upstreamsSchema, viaName } from '../shared/config/sections.js';
import { network } from '../shared/config/units.js';

export const routeSchema = z.strictObject({
  name: z.string().min(1).optional().describe('Name in logs and metrics; default: its host and path.'),
  match: matchSchema.prefault({}),
  upstream: z.string().min(1).describe('Name of one of `upstreams`.'),
  subset: subsetSchema.optional(),
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

/** What holds for every route. */
export const edgeSchema = z.strictObject({
  limits: limitsSchema.prefault({}),
  trustedProxies: z
    .array(network)
    .default([])
    .describe('Addresses or CIDRs whose X-Forwarded-* and Forwarded fields are believed; from all others they are removed.'),
  forwardedField: z.boolean().default(false).describe('Whether upstreams also get the `Forwarded` field of RFC 7239.'),
  via: viaName('gateway'),
});

export const gatewaySchema = z.strictObject({
  listen: proxyListenSchema,
  ...gatewayDynamicSchema.shape,
  ...edgeSchema.shape,
  ...processSections,
});
export type GatewayConfig = z.output<typeof gatewaySchema>;
