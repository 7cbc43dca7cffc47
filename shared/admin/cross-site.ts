import type { IncomingHttpHeaders } from 'node:http';

interface AskedByBrowser {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly protocol: string;
}

/**
 * Whether a browser sends this for a page of another site. A page may have it send a plain POST to any address, also to one on loopback; what
 * it cannot do is to leave these fields out. Clients that are no browsers send neither. A link that somebody follows is no such thing: the page
 * that it is on sees nothing of what it leads to.
 */
export function isCrossSite({ method, headers, protocol }: AskedByBrowser): boolean {
  const { origin, host = '', 'sec-fetch-site': site, 'sec-fetch-mode': mode } = headers;
  if (mode === 'navigate' && (method === 'GET' || method === 'HEAD')) return false;
  // Where it is said, it is said of the address that the browser sees, whoever stands in front of us.
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  return origin !== undefined && origin.toLowerCase() !== `${protocol}://${host}`.toLowerCase();
}
