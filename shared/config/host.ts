import { isIPv4 } from 'node:net';
import { canonicalAddress } from '../listener/network-list.js';

/** A host in the spelling in which requests have theirs: an address in brackets as RFC 5952 has it, one that is mapped IPv4 as what it is; what is not in brackets as it is. Undefined where they hold no address. */
export function canonicalHost(host: string): string | undefined {
  if (!host.startsWith('[') || !host.endsWith(']')) return host;
  const address = canonicalAddress(host.slice(1, -1));
  return address === undefined || isIPv4(address) ? address : `[${address}]`;
}
