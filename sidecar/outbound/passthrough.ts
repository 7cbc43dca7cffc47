import { BlockList, isIPv6 } from 'node:net';
import { plainEndpoint, type EndpointConfig } from '../../shared/config/endpoints.js';
import { upstreamSchema } from '../../shared/config/sections.js';
import type { ErrorCode } from '../../shared/errors/catalogue.js';
import { ProxyError } from '../../shared/errors/proxy-error.js';
import type { Cancellation } from '../../shared/http/cancellation.js';
import type { Service } from '../../shared/http/service.js';
import { plainAddress } from '../../shared/listener/network-list.js';
import { isOfThisMachine } from '../../shared/process/own-addresses.js';
import { hostOf } from '../../shared/routing/route-table.js';
import { Upstream, type UpstreamDependencies } from '../../shared/upstream/upstream.js';
import { SystemResolver } from './system-resolver.js';

interface PassthroughDependencies extends UpstreamDependencies {
  /** All addresses of a name; default: what the system's resolver says, its hosts file and search domains included. */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
  /** Default: whether one of its interfaces has the address now. */
  readonly isOfThisMachine?: (address: string) => boolean;
}

/** Hosts that are remembered with their connections; the one not used for longest is forgotten first. */
const maxHosts = 256;
/** Look-ups under way or waiting for their turn: a name server that hangs must not take all of the memory. */
const maxLookups = 64;
const maxAddresses = 16;
/** Age (ms) at which a host is looked up anew; the addresses of before serve meanwhile, and when that fails. */
const refreshMs = 30_000;
/** For how long (ms) a host that leads nowhere is not looked up again, and of how many that is remembered. */
const missMs = 5_000;
const maxMisses = 256;

/** Where nothing is ever passed to: this machine, and what is no single machine. */
const never = new BlockList();
for (const [address, prefix] of [['0.0.0.0', 8], ['127.0.0.0', 8], ['224.0.0.0', 4], ['255.255.255.255', 32]] as const) never.addSubnet(address, prefix, 'ipv4');
for (const [address, prefix] of [['::', 128], ['::1', 128], ['ff00::', 8]] as const) never.addSubnet(address, prefix, 'ipv6');

interface Host {
  readonly upstream: Upstream;
  refreshAt: number;
}

interface Miss {
  readonly code: ErrorCode;
  readonly until: number;
}

/**
 * Sends calls for hosts that are no upstream where the DNS says: an application whose connections are intercepted calls others than
 * those that its sidecar was told of. Each host, with its port, is an upstream of its own; they share one name in logs and metrics.
 */
export class Passthrough {
  readonly #hosts = new Map<string, Host>();
  readonly #misses = new Map<string, Miss>();
  readonly #lookups = new Map<string, Promise<Host>>();
  readonly #isOfThisMachine: (address: string) => boolean;
  readonly #resolve: (name: string) => Promise<readonly string[]>;
  #isClosed = false;

  constructor(private readonly dependencies: PassthroughDependencies) {
    this.#isOfThisMachine = dependencies.isOfThisMachine ?? isOfThisMachine;
    const system = new SystemResolver(dependencies.clock);
    this.#resolve = dependencies.resolve ?? ((name) => system.resolve(name));
  }

  readonly service: Service = async (request, exchange) => {
    exchange.route = exchange.upstream = 'passthrough';
    const host = this.#known(request.authority) ?? (await this.#found(request.authority, request.cancellation));
    return host.upstream.balance(request, exchange);
  };

  close(): void {
    this.#isClosed = true;
    for (const { upstream } of this.#hosts.values()) upstream.retire();
    this.#hosts.clear();
  }

  #known(authority: string): Host | undefined {
    const host = this.#hosts.get(authority);
    if (host === undefined) return undefined;
    // Behind all others: it is the one used last.
    this.#hosts.delete(authority);
    this.#hosts.set(authority, host);
    const now = this.dependencies.clock.now();
    if (now >= host.refreshAt && this.#lookups.size < maxLookups) {
      host.refreshAt = now + refreshMs;
      this.#endpointsOf(authority).then((endpoints) => {
        // One that was forgotten meanwhile is closed.
        if (this.#hosts.get(authority) === host) host.upstream.setEndpoints(endpoints);
      }, () => {});
    }
    return host;
  }

  #found(authority: string, cancellation: Cancellation): Promise<Host> {
    const miss = this.#misses.get(authority);
    if (miss !== undefined && this.dependencies.clock.now() < miss.until) return Promise.reject(new ProxyError(miss.code));
    let search = this.#lookups.get(authority);
    if (search === undefined) {
      if (this.#lookups.size >= maxLookups) return Promise.reject(new ProxyError('overloaded'));
      search = this.#search(authority).finally(() => this.#lookups.delete(authority));
      this.#lookups.set(authority, search);
    }
    // A look-up cannot be broken off; whoever waits for it can go.
    const found = search;
    return new Promise((resolve, reject) => {
      const unsubscribe = cancellation.onCancel(reject);
      found.finally(() => unsubscribe()).then(resolve, reject);
    });
  }

  async #search(authority: string): Promise<Host> {
    const endpoints = await this.#endpointsOf(authority).catch((error: unknown) => {
      // Who cannot be asked says nothing about the name.
      if (!(error instanceof ProxyError)) throw new ProxyError('no_endpoint', { cause: error });
      this.#remember(authority, error.code);
      throw error;
    });
    const { clock } = this.dependencies;
    const config = { ...upstreamSchema.parse({}), endpoints: [...endpoints] };
    const host = { upstream: new Upstream('passthrough', config, { ...this.dependencies, watch: undefined }), refreshAt: clock.now() + refreshMs };
    if (this.#isClosed) {
      // Whoever waits for it is in flight, and finishes.
      host.upstream.retire();
      return host;
    }
    this.#hosts.set(authority, host);
    for (const [oldest, { upstream }] of this.#hosts) {
      if (this.#hosts.size <= maxHosts) break;
      this.#hosts.delete(oldest);
      upstream.retire();
    }
    return host;
  }

  #remember(authority: string, code: ErrorCode): void {
    // Behind all others: it is the one met last.
    this.#misses.delete(authority);
    this.#misses.set(authority, { code, until: this.dependencies.clock.now() + missMs });
    for (const oldest of this.#misses.keys()) {
      if (this.#misses.size <= maxMisses) break;
      this.#misses.delete(oldest);
    }
  }

  async #endpointsOf(authority: string): Promise<readonly EndpointConfig[]> {
    const name = hostOf(authority);
    const port = Number(authority.slice(name.length + 1) || 80);
    const addresses = await this.#resolve(name.replace(/^\[|\]$/g, '')).catch(noneIfThereIsNone);
    if (addresses.length === 0 || port < 1 || port > 65_535) throw new ProxyError('no_endpoint');
    const others = addresses.map(plainAddress).filter((address) => !never.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'));
    if (others.length === 0) throw new ProxyError('no_route');
    const { isOwnAddress } = this.dependencies;
    const usable = others.filter((address) => isOwnAddress?.(address, port) !== true);
    if (usable.length === 0) throw new ProxyError('loop_detected');
    // What else listens here has its own callers: our admin server, whom nobody should reach through us.
    const elsewhere = usable.filter((address) => !this.#isOfThisMachine(address));
    if (elsewhere.length === 0) throw new ProxyError('no_route');
    return elsewhere.slice(0, maxAddresses).map((host) => plainEndpoint({ host, port }));
  }
}

/** Answers that a name leads nowhere (getaddrinfo and DNS); anything else is a failure to ask. */
function noneIfThereIsNone(error: unknown): readonly string[] {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND' || code === 'ENODATA') return [];
  throw error;
}
