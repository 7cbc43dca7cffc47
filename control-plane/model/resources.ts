import { z } from 'zod';
import { balanceSchema, subsetSchema } from '../../shared/config/balance.js';
import { discoverySchema } from '../../shared/config/discovery.js';
import { endpointSchema } from '../../shared/config/endpoints.js';
import { protocolSchema } from '../../shared/config/http2.js';
import { admissionPolicies, upstreamPolicies } from '../../shared/config/policies.js';
import { matchSchema } from '../../shared/config/routes.js';
import { servicePolicies } from '../../shared/config/shaping.js';
import { divertSchema } from './divert.js';

/*
 * Resources are kept and served as their authors wrote them; parsing only checks them. What a proxy receives
 * is compiled from the written form too, so that its own schema is what gives it meaning.
 */

const name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected a lower-case name of letters, digits and hyphens');

/** Where a policy runs. */
export const placements = ['ambassador', 'sidecar', 'both', 'none'] as const;
export type Placement = (typeof placements)[number];

const serviceSchema = z.strictObject({
  kind: z.literal('Service'),
  name,
  endpoints: z.array(endpointSchema).optional().describe('Fixed addresses, or objects that say more about them; without them the registry says.'),
  discovery: discoverySchema.optional().describe('Where every proxy finds the instances by itself: for a service that is no part of the mesh.'),
  protocol: protocolSchema.optional().describe('What its instances speak; h1 without it.'),
  calls: z.array(name).max(1_000).optional().describe('The services that its sidecars are to know, beside those that these send requests to; default: all.'),
});

const routeResourceSchema = z.strictObject({
  kind: z.literal('Route'),
  name,
  match: matchSchema.prefault({}),
  service: name.describe('The service that the gateway sends matching requests to.'),
  subset: subsetSchema.optional(),
});

/** What connections to a service must be. */
const mtlsSchema = z.strictObject({
  mode: z.enum(['strict', 'permissive', 'off']).describe('strict: mutual TLS only; permissive: plaintext too; off: plaintext, and callers speak it.'),
});

/** All that a policy may say. */
const policies = { ...admissionPolicies, ...upstreamPolicies, ...servicePolicies, divert: divertSchema.optional(), balance: balanceSchema.optional(), mtls: mtlsSchema.optional() };
const settings = Object.keys(policies);

const policySchema = z.strictObject({
  kind: z.literal('Policy'),
  name,
  placement: z.enum(placements).describe('Where it runs: at the gateway, in the sidecars, in both, or nowhere.'),
  target: z.strictObject({ services: z.array(name).min(1) }),
  spec: z
    .strictObject(policies)
    .refine((spec) => Object.keys(spec).length > 0, { message: `at least one of ${settings.slice(0, -1).join(', ')} and ${settings.at(-1)} is needed` })
    .refine((spec) => spec.sticky === undefined || spec.split !== undefined, { path: ['sticky'], message: 'is for split, which is missing' }),
});

const identityResourceSchema = z.strictObject({
  kind: z.literal('Identity'),
  name,
  service: name.describe('The service whose name its certificates carry; `gateway` for a gateway.'),
  namespace: name.default('default').describe('Namespace in that name: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE`.'),
  workload: z
    .strictObject({
      issuer: z.string().min(1).max(512).describe('The `iss` claim; its keys are configured with the certificate authority.'),
      subject: z.string().min(1).max(512).describe('The `sub` claim.'),
      audience: z.string().min(1).max(512).optional().describe('`aud` must contain it; default: the audience that is configured for the issuer.'),
    })
    .optional()
    .describe('The workload token that proves it. Without it the name is proven by join tokens alone.'),
});

/** The schema of each kind. */
export const kindSchemas = { Service: serviceSchema, Route: routeResourceSchema, Policy: policySchema, Identity: identityResourceSchema } as const;

export const resourceSchema = z.discriminatedUnion('kind', [serviceSchema, routeResourceSchema, policySchema, identityResourceSchema]);

export type Service = z.input<typeof serviceSchema>;
export type Route = z.input<typeof routeResourceSchema>;
export type Policy = z.input<typeof policySchema>;
export type Identity = z.input<typeof identityResourceSchema>;
export type Resource = z.input<typeof resourceSchema>;
export type Kind = Resource['kind'];

/** Name of a kind in addresses. */
export const collections = { services: 'Service', routes: 'Route', policies: 'Policy', identities: 'Identity' } as const satisfies Record<string, Kind>;

/** The collection that resources of a kind are in. */
export function collectionOf(kind: Kind): string {
  return Object.entries(collections).find(([, other]) => other === kind)![0];
}
