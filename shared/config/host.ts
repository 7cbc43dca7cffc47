import { isIPv4 } from 'node:net';
import { canonicalAddress } from '../listener/network-list.js';

/** A host in the spelling in which requests have theirs: an address in brackets as RFC 5952 has it, one that is mapped IPv4 as what it is; anything else as it is. */
export function canonicalHost(host: string): string {
  if (!host.startsWith('[') || !host.endsWith(']')) return host;
  const address = canonicalAddress(host.slice(1, -1));
  return address === undefined ? host : isIPv4(address) ? address : `[${address}]`;
}
