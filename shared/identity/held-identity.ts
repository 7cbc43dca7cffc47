import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { parseSpiffeId, type SpiffeId } from './spiffe.js';
import { uriName } from './x509-name.js';

/** A certificate and its key, as `identity.pem` holds them. */
export interface HeldIdentity {
  readonly key: KeyObject;
  readonly certificate: X509Certificate;
  /** Those between it and the root. */
  readonly intermediates: readonly X509Certificate[];
  /** The whole name. */
  readonly id: string;
  readonly name: SpiffeId;
  /** By the certificate's own words (wall clock, ms). */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Reads key and chain. Throws with the reason, and no word of the key, if they do not make an identity. */
export function readIdentity(pem: string): HeldIdentity {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new Error('its private key cannot be read');
  }
  const [certificate, ...intermediates] = certificatesIn(pem);
  if (certificate === undefined) throw new Error('there is no certificate in it');
  if (!certificate.checkPrivateKey(key)) throw new Error('its key and its certificate do not belong together');
  const id = uriName(certificate) ?? '';
  const name = parseSpiffeId(id);
  if (name === undefined) throw new Error('its certificate has no SPIFFE name, or more than one');
  return { key, certificate, intermediates, id, name, notBefore: Date.parse(certificate.validFrom), notAfter: Date.parse(certificate.validTo) };
}

/** Whether an identity's chain ends at a root of this bundle (PEM). Says nothing of its time. */
export function isIssuedUnder({ certificate, intermediates }: HeldIdentity, bundle: string): boolean {
  const roots = certificatesIn(bundle);
  let last = certificate;
  for (const next of intermediates) {
    if (!isIssuedBy(last, next)) return false;
    last = next;
  }
  return roots.some((root) => isIssuedBy(last, root));
}

/** Every certificate in a PEM text. Throws if one cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((block) => new X509Certificate(block));
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}
