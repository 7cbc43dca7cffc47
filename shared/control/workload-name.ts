import { X509Certificate } from 'node:crypto';
import { parseSpiffeId } from '../identity/spiffe.js';
import { uriName } from '../identity/x509-name.js';

/** The SPIFFE name in a certificate (PEM, the workload's own first); undefined when there is none, or not one name. */
export function workloadName(pem: Buffer): string | undefined {
  try {
    const name = uriName(new X509Certificate(pem));
    return name !== undefined && parseSpiffeId(name) !== undefined ? name : undefined;
  } catch {
    return undefined;
  }
}
