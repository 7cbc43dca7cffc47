import { z } from 'zod';

const pem = (what: string) => z.string().min(1).describe(`Path of a PEM file: ${what}. Read again when it changes.`);

/** An identity that the mesh's own authority issues, and the proxy keeps up to date by itself. */
const enrolledSchema = z
  .strictObject({
    directory: z.string().min(1).describe('Directory of this proxy’s own (mode 0700), where its private key, its certificate and the trust bundle are kept. The key is made here and never leaves it.'),
    namespace: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/).default('default').describe('Namespace of the workload: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE`.'),
    joinTokenFile: z.string().min(1).optional().describe('File with a join token, good once: the proof for the first certificate. Later ones are proven by the one before.'),
    workloadTokenFile: z.string().min(1).optional().describe('File with a JWT of the platform that says which workload this is (a Kubernetes service account token, say); read again each time.'),
  })
  .refine(({ joinTokenFile, workloadTokenFile }) => joinTokenFile === undefined || workloadTokenFile === undefined, { error: 'expected joinTokenFile or workloadTokenFile, not both' });

/** An identity whose files somebody else keeps up to date (SPIRE, cert-manager). */
const givenSchema = z.strictObject({
  cert: pem('the certificate with a SPIFFE name, then its intermediates'),
  key: pem('its private key'),
  bundle: pem('the authorities whose certificates are believed'),
});

/** Who a proxy is to the others of the mesh. */
export const identitySchema = z.union([enrolledSchema, givenSchema]);
export type IdentityConfig = z.output<typeof identitySchema>;
export type EnrolledIdentityConfig = z.output<typeof enrolledSchema>;
