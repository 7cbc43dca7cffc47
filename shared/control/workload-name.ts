import { X509Certificate } from 'node:crypto';
import { parseSpiffeId } from '../identity/spiffe.js';

/** The SPIFFE name in a certificate (PEM, the workload's own first); undefined when there is none, or not one name. */
export function workloadName(pem: Buffer): string | undefined {
  try {
    // `URI:spiffe://..., DNS:...`; a name that could hold a comma is quoted, and no SPIFFE name of ours.
    const names = (new X509Certificate(pem).subjectAltName ?? '').split(', ').flatMap((entry) => (entry.startsWith('URI:') ? [entry.slice('URI:'.length)] : []));
    return names.length === 1 && parseSpiffeId(names[0]!) !== undefined ? names[0] : undefined;
  } catch {
    return undefined;
  }
}
