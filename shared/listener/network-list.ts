import { BlockList, isIPv4, isIPv6 } from 'node:net';

/** Whether an address is in one of `networks` (addresses and CIDRs, validated with the configuration). */
export function networkList(networks: readonly string[]): (address: string) => boolean {
  if (networks.length === 0) return () => false;
  const list = new BlockList();
  for (const network of networks) {
    const [address, prefix] = network.split('/', 2) as [string, string | undefined];
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return (address) => list.check(plainAddress(address), isIPv6(plainAddress(address)) ? 'ipv6' : 'ipv4');
}

/** An IPv4 address that arrived on an IPv6 socket, as the IPv4 address it is. */
export function plainAddress(address: string): string {
  if (!address.startsWith('::ffff:')) return address;
  const mapped = address.slice(7);
  return isIPv4(mapped) ? mapped : (canonicalAddress(address) ?? address);
}

/**
 * An address that somebody wrote, in the one spelling in which addresses are compared, counted and logged: IPv6 as in RFC 5952, and an IPv4
 * address that is mapped into it as what it is. Undefined for what is no address, or with its zone is one on one machine only.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  return mapped === null ? address : mapped.slice(1).flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]).join('.');
}
