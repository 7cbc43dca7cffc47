import { z } from 'zod';
import type { SpiffeId } from '../../shared/identity/spiffe.js';

const compact = z.string().min(1).max(32_768).regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, 'expected three parts of base64url');

/** How somebody proves which workload it is. */
export const proofSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('joinToken'), token: compact.describe('Made by POST /v1/join-tokens; good once.') }),
  z.strictObject({ kind: z.literal('workload'), token: compact.describe('A JWT of a configured issuer.') }),
  z.strictObject({ kind: z.literal('renewal'), jws: compact.describe('Over the request’s digest, by the key of the present certificate.') }),
]);
export type Proof = z.output<typeof proofSchema>;

/** What a proof establishes. */
export interface Proven {
  readonly name: SpiffeId;
  /** For the audit: which token or certificate it was; no secret. */
  readonly evidence: string;
  /** Good once: to be used up before anything is signed. */
  readonly once?: { readonly id: string; readonly expiresAt: number } | undefined;
}
