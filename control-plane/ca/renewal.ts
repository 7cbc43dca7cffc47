import * as x509 from '@peculiar/x509';
import { X509Certificate } from 'node:crypto';
import { decodeProtectedHeader, jwtVerify } from 'jose';
import { renewalAlgorithms, renewalAudience, renewalProofType, requestDigest } from '../../shared/identity/renewal-proof.js';
import { parseSpiffeId, type SpiffeId } from '../../shared/identity/spiffe.js';
import type { AuthorityKeeper } from './authority-keeper.js';
import type { Proven } from './proof.js';
import { Refusal } from './refusal.js';
import { spiffeNamesOf } from './signing-request.js';

interface RenewalOptions {
  readonly keeper: AuthorityKeeper;
  readonly trustDomain: string;
  readonly wallNow: () => number;
  readonly skewMs: number;
  /** How long after its end a certificate still counts (ms). */
  readonly graceMs: number;
}

/**
 * The certificate of before as proof: of this mesh, valid, and the key of it has signed this very request, not long ago. Seen twice it is no
 * harm: it is good for the same request alone, whose key nobody else has. Rejects with a `Refusal`.
 */
export async function verifyRenewal(jws: string, requestDer: Uint8Array, options: RenewalOptions): Promise<Proven> {
  const { keeper, trustDomain, wallNow, skewMs, graceMs } = options;
  const certificate = certificateIn(jws);
  if (!keeper.all.some((authority) => authority.signed(certificate))) throw new Refusal('proof_invalid', 'The certificate is not of this mesh, or older than its authority.');
  const name = workloadOf(certificate, trustDomain);
  const now = wallNow();
  if (now < Date.parse(certificate.validFrom)) throw new Refusal('proof_expired', 'The certificate is not valid yet.');
  if (now > Date.parse(certificate.validTo) + graceMs) throw new Refusal('proof_expired', 'The certificate has expired; a new join token or a workload token is needed.');
  let claims: { csr?: unknown; iat?: number };
  try {
    ({ payload: claims } = await jwtVerify(jws, certificate.publicKey, { algorithms: renewalAlgorithms, typ: renewalProofType, audience: renewalAudience(trustDomain), requiredClaims: ['iat', 'csr'], currentDate: new Date(now) }));
  } catch {
    throw new Refusal('proof_invalid', 'The proof was not signed by the certificate’s key, or is for somebody else.');
  }
  if (claims.csr !== requestDigest(requestDer)) throw new Refusal('proof_invalid', 'The proof is for another signing request.');
  if (Math.abs(now - claims.iat! * 1_000) > skewMs) throw new Refusal('proof_expired', 'The proof was not made just now; are the clocks right?');
  return { name, evidence: `certificate ${certificate.serialNumber.toLowerCase()}` };
}

function certificateIn(jws: string): X509Certificate {
  try {
    return new X509Certificate(Buffer.from(decodeProtectedHeader(jws).x5c![0]!, 'base64'));
  } catch {
    throw new Refusal('proof_invalid', 'The certificate of before is missing (x5c).');
  }
}

function workloadOf(certificate: X509Certificate, trustDomain: string): SpiffeId {
  const extension = new x509.X509Certificate(certificate.raw).getExtension(x509.SubjectAlternativeNameExtension);
  const names = extension === null ? undefined : spiffeNamesOf(extension);
  const name = names?.length === 1 ? parseSpiffeId(names[0]!) : undefined;
  if (name === undefined || name.trustDomain !== trustDomain || certificate.ca) throw new Refusal('proof_invalid', 'The certificate is not that of a workload.');
  return name;
}
