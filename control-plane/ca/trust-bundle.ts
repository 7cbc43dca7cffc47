import { createHash, X509Certificate } from 'node:crypto';
import { rootsOf } from './rotation.js';
import type { CaState } from './state.js';

/** The roots of the mesh, in the forms in which they are served. Made once for each change. */
export interface TrustBundle {
  readonly sequence: number;
  /** SPIFFE trust bundle (SPIFFE Trust Domain and Bundle, section 4). */
  readonly json: string;
  readonly pem: string;
  /** Strong entity tags (RFC 9110, section 8.8.3), one for each form. */
  readonly etags: { readonly json: string; readonly pem: string };
}

export function trustBundle({ trustDomain, sequence, authorities }: CaState, refreshMs: number): TrustBundle {
  const roots = rootsOf(authorities).map((pem) => new X509Certificate(pem));
  const json = JSON.stringify({
    // Not of the standard, which leaves room for more: a client that knows it can ask for its full name.
    trust_domain: trustDomain,
    spiffe_sequence: sequence,
    spiffe_refresh_hint: Math.max(1, Math.round(refreshMs / 1_000)),
    keys: roots.map((root) => ({ use: 'x509-svid', ...root.publicKey.export({ format: 'jwk' }), x5c: [root.raw.toString('base64')] })),
  });
  const pem = roots.map((root) => root.toString()).join('');
  return { sequence, json, pem, etags: { json: etag(json), pem: etag(pem) } };
}

function etag(text: string): string {
  return `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`;
}
