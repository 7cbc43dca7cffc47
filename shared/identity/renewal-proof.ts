import { createHash, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';

/** Type of the proof of a renewal (RFC 7515, `typ`): nobody takes another signature for one. */
export const renewalProofType = 'renewal+jwt';

/** Algorithms that sign it: those of the keys that a workload may have. */
export const renewalAlgorithms = ['ES256', 'ES384', 'EdDSA', 'RS256'];

/** Whom it is for. */
export function renewalAudience(trustDomain: string): string {
  return `spiffe://${trustDomain}`;
}

/** What binds it to one signing request. */
export function requestDigest(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('base64url');
}

/**
 * Proves that whoever sends a signing request has the certificate of before: a JWS over the request's digest, the audience and the time, by
 * the key of that certificate, which goes along (RFC 7515, `x5c`).
 */
export function signRenewalProof({ key, certificate, trustDomain, requestDer, wallNow }: { key: KeyObject; certificate: Uint8Array; trustDomain: string; requestDer: Uint8Array; wallNow: number }): Promise<string> {
  return new SignJWT({ csr: requestDigest(requestDer) })
    .setProtectedHeader({ alg: 'ES256', typ: renewalProofType, x5c: [Buffer.from(certificate).toString('base64')] })
    .setAudience(renewalAudience(trustDomain))
    .setIssuedAt(Math.floor(wallNow / 1_000))
    .sign(key);
}
