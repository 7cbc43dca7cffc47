import { isIPv6 } from 'node:net';
import { elementsFromLast } from './forwarded-field.js';
import { fieldKind } from '../shared/http/field-names.js';
import { PreparedFields, type Headers } from '../shared/http/headers.js';
import { interned } from '../shared/http/interned.js';
import type { Layer } from '../shared/http/service.js';
import { canonicalAddress } from '../shared/listener/network-list.js';

export interface ForwardedOptions {
  readonly trusted: (address: string) => boolean;
  /** The form in which trusted proxies say who their client is. The other one a client may have sent through them. */
  readonly clientAddressFrom: 'x-forwarded-for' | 'forwarded';
  /** Whether to say it in RFC 7239's `Forwarded` too. */
  readonly standardField: boolean;
}

/**
 * Says who the client is, so that everything behind the gateway can rely on it: `X-Forwarded-For`, `-Proto` and
 * `-Host`, and `Forwarded` (RFC 7239) if wanted, are set here, and what a client sent under these names, or as its
 * identity, is removed. A trusted proxy in front is believed, in the one form that it writes, and in nothing else; the client is
 * then the rightmost address that is not itself trusted. Only what is an address is taken for one, and sent on, without its port and in one spelling.
 */
export function forwarded({ trusted, clientAddressFrom, standardField }: ForwardedOptions): Layer {
  const believed = clientAddressFrom === 'forwarded' ? byForwarded : byXForwarded;
  const strangers = new StrangersFields();
  return (next) =>
    function forwarded(request, exchange) {
      const { headers, authority, scheme } = request;
      const peer = exchange.clientAddress;
      let [proto, host]: readonly [string, string] = [scheme, authority];
      let before = '';
      if (trusted(peer)) {
        const said = believed(headers);
        // Whatever else says such things came from who knows where, and would tell the upstream something else.
        headers.deleteKind(fieldKind.forwarding | fieldKind.identity);
        exchange.clientAddress = said.chain.findLast((address) => !trusted(address)) ?? said.chain[0] ?? peer;
        proto = said.proto ?? scheme;
        host = said.host ?? authority;
        headers.append('X-Forwarded-For', [...said.chain, peer].join(', '));
        headers.append('X-Forwarded-Proto', proto);
        if (host !== '') headers.append('X-Forwarded-Host', host);
        if (said.port !== undefined) headers.append('X-Forwarded-Port', said.port);
        if (standardField) before = said.chain.map((address) => `for=${node(address)}, `).join('');
      } else {
        exchange.isCallerTrusted = false;
        headers.deleteKind(fieldKind.forwarding | fieldKind.identity | fieldKind.mesh);
        headers.appendAll(strangers.of(scheme, peer, authority));
      }
      if (standardField) headers.append('Forwarded', `${before}for=${node(peer)};proto=${proto}${host === '' ? '' : `;host="${host}"`}`);
      return next(request, exchange);
    };
}

/** What is said of a client that is not believed itself: the same for each of its requests to a host. Bounded: when there are too many it starts anew. */
class StrangersFields {
  readonly #known = { http: new Map<string, Map<string, PreparedFields>>(), https: new Map<string, Map<string, PreparedFields>>() };
  #size = 0;

  of(scheme: 'http' | 'https', peer: string, host: string): PreparedFields {
    return this.#known[scheme].get(peer)?.get(host) ?? this.#add(scheme, peer, host);
  }

  #add(scheme: 'http' | 'https', peer: string, host: string): PreparedFields {
    // A client of HTTP/1.0 may name no host.
    const named: [name: string, value: string][] = host === '' ? [] : [['X-Forwarded-Host', host]];
    const fields = new PreparedFields([['X-Forwarded-For', peer], ['X-Forwarded-Proto', scheme], ...named]);
    // A host that long is made up, and would be kept alive.
    if (host.length > 255) return fields;
    if (this.#size++ >= maxKnown) {
      this.#known.http.clear();
      this.#known.https.clear();
      this.#size = 0;
    }
    const byPeer = this.#known[scheme];
    let byHost = byPeer.get(peer);
    if (byHost === undefined) byPeer.set(peer, (byHost = new Map<string, PreparedFields>()));
    byHost.set(interned(host), fields);
    return fields;
  }
}

const maxKnown = 1_000;

interface Believed {
  /** Addresses, the client's first. */
  readonly chain: readonly string[];
  readonly proto: string | undefined;
  readonly host: string | undefined;
  readonly port: string | undefined;
}

/** What a trusted proxy says that writes `X-Forwarded-*`. */
function byXForwarded(headers: Headers): Believed {
  return {
    chain: chainOf(list(headers.getCombined('x-forwarded-for')).reverse()),
    proto: schemeOf(list(headers.getCombined('x-forwarded-proto')).at(-1)),
    host: hostOf(list(headers.getCombined('x-forwarded-host')).at(-1)),
    port: portOf(list(headers.getCombined('x-forwarded-port')).at(-1)),
  };
}

/** What a trusted proxy says that writes `Forwarded`. */
function byForwarded(headers: Headers): Believed {
  const elements = [...elementsFromLast(headers.getAll('forwarded'))];
  const [last] = elements;
  return { chain: chainOf(elements.map((element) => element.get('for') ?? '')), proto: schemeOf(last?.get('proto')), host: hostOf(last?.get('host')), port: undefined };
}

/** More hops than any request has; a client could write thousands. */
const maxChain = 100;

/** The addresses up to what is none: who does not say whom it speaks for does not vouch for what that one said. */
function chainOf(nodesFromLast: readonly string[]): string[] {
  const chain: string[] = [];
  for (const node of nodesFromLast) {
    const address = addressOf(node);
    if (address === undefined || chain.length === maxChain) break;
    chain.push(address);
  }
  return chain.reverse();
}

/** What is not a scheme, a host or a port is not passed on as one: a trusted proxy may repeat what its client said. */
function schemeOf(said: string | undefined): string | undefined {
  const scheme = said?.toLowerCase();
  return scheme === 'http' || scheme === 'https' ? scheme : undefined;
}

function hostOf(said: string | undefined): string | undefined {
  const host = said?.toLowerCase();
  return host !== undefined && /^[\w.:[\]-]{1,255}$/.test(host) ? host : undefined;
}

function portOf(said: string | undefined): string | undefined {
  return said !== undefined && /^\d{1,5}$/.test(said) ? said : undefined;
}

function list(value: string | undefined): string[] {
  return (value ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** The address of a node, without brackets and port (RFC 7239 section 6); balancers write them in `X-Forwarded-For` too. */
function addressOf(node: string): string | undefined {
  const [, bracketed, beforePort] = /^\[([\dA-Fa-f:.]+)\](?::[\w.-]+)?$|^([\d.]+):[\w.-]+$/.exec(node) ?? [];
  return canonicalAddress(bracketed ?? beforePort ?? node);
}

function node(address: string): string {
  return isIPv6(address) ? `"[${address}]"` : address;
}
