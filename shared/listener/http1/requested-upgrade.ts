import type { RequestHead } from '../../http1/request-head.js';

/** The protocol that the client wants to switch to, if it may (RFC 9110 section 7.8). One at a time: of a list the first that is `allowed`. */
export function requestedUpgrade({ headers, minorVersion }: RequestHead, allowed: readonly string[]): string | undefined {
  const options = (headers.getCombined('connection') ?? '').toLowerCase().split(',');
  if (minorVersion === 0 || !options.some((option) => option.trim() === 'upgrade')) return undefined;
  const offered = headers.getCombined('upgrade')!.toLowerCase().split(',').map((protocol) => protocol.trim());
  return offered.find((protocol) => allowed.includes(protocol));
}
