import type { X509Certificate } from 'node:crypto';
import { isValidAt, shownName, uriName } from './x509-name.js';
import { parseSpiffeId, type SpiffeId } from './spiffe.js';

/** Why a caller was refused. `expired` is outside its validity, on either side; `handshake` anything that went wrong before a certificate was seen. */
export type RefusalReason = 'plaintext' | 'no_certificate' | 'untrusted' | 'expired' | 'wrong_name' | 'handshake';

export interface Refusal {
  readonly reason: RefusalReason;
  /** What happened underneath, for the log. */
  readonly detail: string;
  /** What the peer's certificate calls itself; undefined where none was seen. */
  readonly name: string | undefined;
}

export type NamedId = SpiffeId & { readonly id: string };

/** The codes with which a chain fails for its time alone. */
const outOfTime: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

/** `failure` is the code with which the chain could not be verified, if it could not; `now` is ms since the epoch. */
interface Shown {
  readonly certificate: X509Certificate | undefined;
  readonly failure: string | undefined;
  readonly now: number;
}

/**
 * Judges what a peer has shown: a chain to the bundle, valid now, with a SPIFFE name of our form in `trustDomain`.
 *
 * Validity is looked at here as well as in the handshake: a resumed session has verified no certificate, and the one that it
 * stands for may have expired since.
 */
export function judge({ certificate, failure, now }: Shown, trustDomain: string): { readonly peer: NamedId } | { readonly refusal: Refusal } {
  const refuse = (reason: RefusalReason, detail: string): { refusal: Refusal } => ({ refusal: { reason, detail, name: certificate && shownName(certificate) } });
  if (certificate === undefined) return refuse('no_certificate', 'the peer showed no certificate');
  if (failure !== undefined) return refuse(reasonOf(failure), failure);
  if (!isValidAt(certificate, now)) return refuse('expired', now > Date.parse(certificate.validTo) ? 'CERT_HAS_EXPIRED' : 'CERT_NOT_YET_VALID');
  const id = uriName(certificate);
  const parsed = id === undefined ? undefined : parseSpiffeId(id);
  if (parsed === undefined) return refuse('wrong_name', 'its certificate has no SPIFFE name of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE');
  if (parsed.trustDomain !== trustDomain) return refuse('wrong_name', `its trust domain is not ${trustDomain}`);
  return { peer: { ...parsed, id: id! } };
}

/** Of the code of a chain that could not be verified. */
export function reasonOf(failure: string): 'expired' | 'untrusted' {
  return outOfTime.has(failure) ? 'expired' : 'untrusted';
}
