import { z } from 'zod';
import { duration } from '../../shared/config/units.js';
import { proofSchema } from './proof.js';
import { maxRequestBytes } from './signing-request.js';

/* What requests for certificates and their answers look like: what is checked, and what the OpenAPI document says, are the same. */

const part = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits and hyphens');
const time = z.string().meta({ format: 'date-time' });
const pem = (what: string) => z.string().describe(`PEM: ${what}.`);

export const certificateRequest = z
  .strictObject({ csr: z.string().min(1).max(maxRequestBytes).describe('PKCS#10, PEM.'), proof: proofSchema.describe('Which workload the sender is.') })
  .meta({ 'x-name': 'CertificateRequest' });

export const certificateAnswer = z
  .object({
    name: z.string().describe('The SPIFFE name in it.'),
    certificate: pem('the certificate, then what stands between it and the root'),
    serial: z.string().describe('Hexadecimal.'),
    notAfter: time.describe('When it ends.'),
    lifetimeMs: z.number().describe('How long it lives from now on (ms); does not depend on the clock of whoever asks.'),
    trustBundle: pem('the roots that are believed'),
  })
  .meta({ 'x-name': 'IssuedCertificate', description: 'The certificate.' });
export type CertificateAnswer = z.output<typeof certificateAnswer>;

export const joinTokenRequest = z
  .strictObject({
    service: part.describe('The service that the token is for.'),
    namespace: part.default('default').describe('Its namespace.'),
    ttl: duration.optional().describe('How long it is good, at least 1s and at most ca.joinTokenMaxTtl. Default: 10 minutes, or that if it is less.'),
  })
  .meta({ 'x-name': 'JoinTokenRequest' });

export const joinTokenAnswer = z
  .object({ token: z.string().describe('A secret.'), service: z.string(), namespace: z.string(), expiresAt: time.describe('When it is good no more.') })
  .meta({ 'x-name': 'JoinToken', description: 'The token. It is shown this once.' });
export type JoinTokenAnswer = z.output<typeof joinTokenAnswer>;

export const rotationRequest = z
  .strictObject({ overlap: duration.optional().describe('How long the new root is in the bundle before it signs, instead of ca.overlap; at least twice ca.bundleRefresh.') })
  .meta({ 'x-name': 'RotationRequest' });

export const authorityStatus = z
  .object({
    trustDomain: z.string(),
    sequence: z.int().describe('Version of the trust bundle.'),
    authorities: z
      .array(
        z.object({
          id: z.string(),
          source: z.enum(['own', 'given']).describe('Made here, or the configured issuer.'),
          stage: z.enum(['published', 'signing', 'retired']),
          publishedAt: time.describe('When its root came into the bundle.'),
          signsFrom: time.describe('When it signs, or began to.'),
          leavesAt: time.optional().describe('Retired: when its root leaves the bundle.'),
          endsAt: time.optional().describe('When the first of its own certificates ends.'),
        }),
      )
      .describe('Those whose roots are in the bundle.'),
  })
  .meta({ 'x-name': 'AuthorityStatus', description: 'The authorities, and where each stands. Without their keys.' });
export type AuthorityStatus = z.output<typeof authorityStatus>;

export const trustBundleDocument = z
  .object({
    trust_domain: z.string(),
    spiffe_sequence: z.int().describe('Grows whenever a root comes or goes.'),
    spiffe_refresh_hint: z.int().describe('How often to ask again (s).'),
    keys: z.array(z.looseObject({ use: z.literal('x509-svid'), kty: z.string(), x5c: z.array(z.string()).describe('DER of the root, base64.') })).describe('A key for each root (RFC 7517).'),
  })
  .meta({ 'x-name': 'TrustBundle', description: 'SPIFFE Trust Domain and Bundle, section 4.' });
export const trustBundlePem = pem('the roots, oldest first');
