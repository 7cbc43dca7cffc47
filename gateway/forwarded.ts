import { BlockList, isIPv6 } from 'node:net';
import type { Headers } from '../shared/http/headers.js';
import type { Layer } from '../shared/http/service.js';

/** What only a proxy may say about a request. From outside they are claims of the client, and are removed. */
const forwardingFields = new Set(['forwarded', 'x-real-ip', 'x-client-ip', 'x-cluster-client-ip', 'true-client-ip', 'x-original-url', 'x-rewrite-url', 'x-request-id']);

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
export function forwarded(options: { trusted: (address: string) => boolean; identityFields: readonly string[] }): Layer {
  const { trusted } = options;
  const identity = new Set(options.identityFields);
  return (next) =>
    function forwarded(request, exchange) {
      const { headers } = request;
      const peer = plain(exchange.clientAddress);
      const believed = trusted(peer);
      if (believed) {
        headers.deleteWhere((name) => identity.has(name));
        const chain = forwardedFor(headers);
        exchange.clientAddress = chain.findLast((address) => !trusted(address)) ?? chain[0] ?? peer;
        headers.set('X-Forwarded-For', [...chain, peer].join(', '));
      } else {
        headers.deleteWhere((name) => name.startsWith('x-forwarded-') || forwardingFields.has(name) || identity.has(name));
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
