import { z } from 'zod';
import { admissionPolicies } from '../shared/config/policies.js';
import { routePriority } from '../shared/config/resilience.js';
import { limitsSchema, processSections, proxyListenSchema, upstreamsSchema, viaName } from '../shared/config/sections.js';
import { tcpListenersSchema } from '../shared/config/tcp.js';
import { routeShape } from '../shared/config/shaping.js';
import { network } from '../shared/config/units.js';

const routeSchema = z.strictObject({
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
    .describe('Addresses or CIDRs that are believed when they say who their client is and what it asked for; from all others the fields that say so are removed.'),
  clientAddressFrom: z
    .enum(['x-forwarded-for', 'forwarded'])
    .default('x-forwarded-for')
    .describe('The form in which trustedProxies say it: X-Forwarded-For, with -Proto, -Host and -Port; or the Forwarded field of RFC 7239. It must be the one that they write: the other is not believed, since a client could have sent it.'),
  forwardedField: z.boolean().default(false).describe('Whether upstreams also get the Forwarded field of RFC 7239, with the same addresses as X-Forwarded-For.'),
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
