import { z } from 'zod';
import { admissionPolicies } from '../shared/config/policies.js';
import { routePriority } from '../shared/config/resilience.js';
import { limitsSchema, processSections, proxyListenSchema, upstreamsSchema, viaName } from '../shared/config/sections.js';
import { tcpListenersSchema } from '../shared/config/tcp.js';
import { routeShape } from '../shared/config/shaping.js';
import { network } from '../shared/config/units.js';

export const routeSchema = z.strictObject({
  ...routeShape,
  ...admissionPolicies,
  priority: routePriority,
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
  tcp: tcpListenersSchema,
  ...gatewayDynamicSchema.shape,
  ...edgeSchema.shape,
  ...processSections,
});
export type GatewayConfig = z.output<typeof gatewaySchema>;
