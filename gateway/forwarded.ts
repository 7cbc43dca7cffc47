import { BlockList, isIPv6 } from 'node:net';
import { fieldKind } from '../shared/http/field-names.js';
import type { Headers } from '../shared/http/headers.js';
import type { Layer } from '../shared/http/service.js';

/** Peers whose forwarding fields are believed, from addresses and CIDRs. Throws `TypeError` on anything else. */
export function trustedPeers(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [network, prefix] = entry.split('/', 2) as [string, string | undefined];
    const family = isIPv6(network) ? 'ipv6' : 'ipv4';
    if (prefix === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(prefix), family);
  }
  if (entries.length === 0) return () => false;
  return (address) => list.check(plain(address), isIPv6(plain(address)) ? 'ipv6' : 'ipv4');
}

/** An IPv4 address that arrived on an IPv6 socket, as the IPv4 address it is. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

/**
 * Says who the client is, so that everything behind the gateway can rely on it: `X-Forwarded-For`, `-Proto` and
 * `-Host` are set here, and what a client sent under these names, or as its identity, is removed. A trusted
 * proxy in front is believed, and the client is then the rightmost address that is not itself trusted.
 */
export function forwarded({ trusted }: { readonly trusted: (address: string) => boolean }): Layer {
  return (next) =>
    function forwarded(request, exchange) {
      const { headers } = request;
      const peer = plain(exchange.clientAddress);
      const believed = trusted(peer);
      if (believed) {
        headers.deleteKind(fieldKind.identity);
        const chain = forwardedFor(headers);
        exchange.clientAddress = chain.findLast((address) => !trusted(address)) ?? chain[0] ?? peer;
        headers.set('X-Forwarded-For', [...chain, peer].join(', '));
      } else {
        headers.deleteKind(fieldKind.forwarding | fieldKind.identity);
        exchange.clientAddress = peer;
        headers.append('X-Forwarded-For', peer);
      }
      if (!believed || !headers.has('x-forwarded-proto')) headers.set('X-Forwarded-Proto', request.scheme);
      if (!believed || !headers.has('x-forwarded-host')) headers.set('X-Forwarded-Host', request.authority);
      return next(request, exchange);
    };
}

function forwardedFor(headers: Headers): string[] {
  return (headers.getCombined('x-forwarded-for') ?? '')
    .split(',')
    .map((address) => address.trim())
    .filter((address) => address !== '');
}
