import type { IncomingHttpHeaders } from 'node:http';

/**
 * Whether a browser sends this for a page of another site. A page may have it send a plain POST to any address, also to one on loopback; what
 * it cannot do is to leave these fields out. Clients that are no browsers send neither.
 */
export function isCrossSite({ headers, protocol }: { readonly headers: IncomingHttpHeaders; readonly protocol: string }): boolean {
  const { origin, host = '', 'sec-fetch-site': site } = headers;
  if (site === 'cross-site' || site === 'same-site') return true;
  return origin !== undefined && origin.toLowerCase() !== `${protocol}://${host}`.toLowerCase();
}
