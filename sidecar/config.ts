import { z } from 'zod';
import { inboundMtlsSchema } from '../shared/config/mtls.js';
import { admissionPolicies } from '../shared/config/policies.js';
import { limitsSchema, processSections, proxyListenSchema, upstreamSchema, upstreamsSchema, viaName } from '../shared/config/sections.js';
import { shapedRouteSchema, shapingPolicies } from '../shared/config/shaping.js';
import { tcpListenersSchema } from '../shared/config/tcp.js';
import { address, durationFrom } from '../shared/config/units.js';

const { timeout, attemptTimeout, propagateDeadline, connectTimeout, idleTimeout, protocol } = upstreamSchema.shape;

/** The policies that stand between callers and the application. */
export const inboundPoliciesSchema = z.strictObject({ mtls: inboundMtlsSchema, ...admissionPolicies, fault: shapingPolicies.fault, headers: shapingPolicies.headers, timeout, attemptTimeout, propagateDeadline });

/** What a snapshot of the control plane may replace while the sidecar runs. */
export const sidecarDynamicSchema = z.strictObject({
  inbound: inboundPoliciesSchema.prefault({}),
  routes: z.array(shapedRouteSchema).default([]).describe('What is done with calls to a service beside sending them to the upstream of its name: match.host is the name. A call that no route matches goes to that upstream.'),
  upstreams: upstreamsSchema.default({}),
});
export type SidecarDynamicConfig = z.output<typeof sidecarDynamicSchema>;

export const sidecarSchema = z.strictObject({
  service: z.string().regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/).describe('The service that this sidecar stands beside.'),
  inbound: z
    .strictObject({
      listen: proxyListenSchema,
      app: address.describe('Where the application listens.'),
      ...inboundPoliciesSchema.shape,
      connectTimeout,
      idleTimeout,
      protocol,
      health: z
        .strictObject({
          path: z.string().startsWith('/').optional().describe('Answers below 400 mean healthy; without it a connection does.'),
          interval: durationFrom(50).default(1_000).describe('Pause between two probes.'),
        })
        .prefault({}),
    })
    .optional(),
  outbound: z
    .strictObject({
      listen: proxyListenSchema,
      unknownHosts: z
        .enum(['refuse', 'passthrough'])
        .default('refuse')
        .describe('What becomes of calls to a host that is neither in routes nor in upstreams: refuse answers 404 no_route, passthrough sends them where the DNS says, but never to this machine. For applications whose connections are intercepted.'),
    })
    .optional(),
  tcp: tcpListenersSchema,
  routes: sidecarDynamicSchema.shape.routes,
  upstreams: sidecarDynamicSchema.shape.upstreams,
  limits: limitsSchema.prefault({}),
  via: viaName('sidecar'),
  ...processSections,
});
export type SidecarConfig = z.output<typeof sidecarSchema>;

/** The policies of an inbound section, without the rest of it. */
export function inboundPoliciesOf(inbound: SidecarConfig['inbound']): SidecarDynamicConfig['inbound'] {
  if (inbound === undefined) return {};
  const { mtls, jwt, authorization, rateLimit, adaptiveConcurrency, fault, headers, timeout, attemptTimeout, propagateDeadline } = inbound;
  return { mtls, jwt, authorization, rateLimit, adaptiveConcurrency, fault, headers, timeout, attemptTimeout, propagateDeadline };
}
