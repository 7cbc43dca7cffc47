import { z } from 'zod';
import { duration, openUrl } from '../../shared/config/units.js';

const part = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits and hyphens');

/** An issuer of JWTs that say which workload somebody is: a platform's, say. */
export const workloadIssuerSchema = z
  .strictObject({
    issuer: z.string().min(1).describe('The `iss` claim.'),
    audience: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe('`aud` must contain one of these. Make it one that is used for nothing else.'),
    jwksUri: openUrl.optional().describe('Where the issuer publishes its keys (RFC 7517).'),
    jwks: z.union([z.string().min(1), z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })) })]).optional().describe('The key set itself, or the path of a file that holds it.'),
    algorithms: z.array(z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])).min(1).default(['RS256', 'ES256', 'EdDSA']),
    template: z
      .string()
      .max(512)
      .refine((text) => text.split('{service}').length === 2 && text.split('{namespace}').length <= 2, 'expected {service} once, and {namespace} at most once')
      .refine((text) => !text.includes('}{'), 'expected something between {namespace} and {service}')
      .optional()
      .describe('How `sub` says the name: system:serviceaccount:{namespace}:{service} for service accounts of Kubernetes. Without {namespace} it is `default`.'),
    subjects: z.record(z.string().min(1), z.strictObject({ service: part, namespace: part.default('default') })).default({}).describe('Subjects one by one, each with its service; they go before the template.'),
    fetchTimeout: duration.default(5_000),
  })
  .refine(({ jwksUri, jwks }) => (jwksUri === undefined) !== (jwks === undefined), { error: 'exactly one of jwksUri and jwks is needed' });
export type WorkloadIssuerConfig = z.output<typeof workloadIssuerSchema>;
