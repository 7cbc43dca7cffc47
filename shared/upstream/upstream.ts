import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { Subset } from '../config/balance.js';
import type { EndpointConfig } from '../config/endpoints.js';
import type { UpstreamConfig } from '../config/sections.js';
import { formatAddress } from '../config/units.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest } from '../http/message.js';
import { stack, type Service } from '../http/service.js';
import { withoutIdentity, type MeshClientFactory } from '../identity/mesh-client.js';
import { ClientCredentials } from '../tls/client-credentials.js';
import type { PemStore } from '../tls/pem-store.js';
import { Member } from './balance/member.js';
import { Selection, type Group } from './balance/selection.js';
import { weigh } from './balance/slow-start.js';
import { stickyCookie } from './balance/sticky-cookie.js';
import { untilAccepted } from './balance/until-accepted.js';
import { Endpoint } from './endpoint.js';

export interface UpstreamDependencies {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  readonly random: () => number;
  readonly pems: PemStore;
  /** How an endpoint with a SPIFFE name is spoken to. */
  readonly meshClient?: MeshClientFactory | undefined;
  /** Where this proxy runs. */
  readonly zone?: string | undefined;
  /** Puts the layers of the process's stack in front of a new endpoint. */
  readonly guard: (endpoint: Endpoint, upstream: string, config: UpstreamConfig) => void;
  /** Told of every upstream that comes to life; what it returns runs at its end. */
  readonly watch?: ((upstream: Upstream) => () => void) | undefined;
  readonly onPanic?: ((upstream: string, isPanic: boolean) => void) | undefined;
  /** Told of each exchange of the files of an upstream's `tls`: of its error if the new ones cannot be used, and the old ones stay. */
  readonly onTlsReload?: ((upstream: string, error: Error | undefined) => void) | undefined;
  /** Whether an address is one of this proxy's own listeners: what was sent there would come back. */
  readonly isOwnAddress?: ((host: string, port: number) => boolean) | undefined;
  /** The same, where HTTP would come back too: what `Via` shows needs no look at the connection. */
  readonly isLoop?: ((host: string, port: number) => boolean) | undefined;
}

/** Counts what befell the endpoints of an upstream. All versions that share endpoints share one, and see by it that they must look anew. */
interface Changes {
  count: number;
}

/** A named service to send to, and the endpoints that make it up. */
export class Upstream {
  #members: ReadonlyMap<string, Member> = new Map();
  readonly #settings: string;
  readonly #create: (config: EndpointConfig) => Endpoint;
  readonly #dependencies: UpstreamDependencies;
  readonly #changes: Changes;
  #changesSeen = -1;
  /** Clock reading (ms) at which the weights of endpoints that warm up are due. */
  #weighAt = Infinity;
  /** One for all endpoints, and one for each subset that something refers to, by its labels. */
  readonly #selections = new Map<string, Selection>();
  #isPanic = false;
  readonly #credentials: ClientCredentials | undefined;
  readonly #unwatch: (() => void) | undefined;

  /** With `previous`, endpoints that are unchanged are taken over with their connections, breakers and latencies. */
  constructor(
    readonly name: string,
    readonly config: UpstreamConfig,
    dependencies: UpstreamDependencies,
    previous?: Upstream,
  ) {
    // How an endpoint is chosen is no part of the endpoint, nor how it is found.
    this.#settings = JSON.stringify({ ...config, endpoints: undefined, balance: undefined, discovery: undefined });
    const { endpoints, balance } = config;
    this.#dependencies = dependencies;
    const shared = previous !== undefined && previous.#settings === this.#settings ? previous : undefined;
    const changes = shared === undefined ? { count: 0 } : shared.#changes;
    this.#changes = changes;
    const credentials = shared === undefined ? config.tls && new ClientCredentials(config.tls, { pems: dependencies.pems, onReload: (error) => dependencies.onTlsReload?.(name, error) }) : shared.#credentials;
    this.#credentials = credentials;
    this.#create = ({ address, identity }) => {
      const endpoint = new Endpoint(address, config, { ...dependencies, credentials: identity === undefined ? credentials : (dependencies.meshClient ?? withoutIdentity)(name, formatAddress(address), identity) });
      endpoint.onChange = () => changes.count++;
      dependencies.guard(endpoint, name, config);
      return endpoint;
    };
    this.balance = this.balanceOver(balance.subset);
    // Nothing after this can fail: from here on there is something to close.
    try {
      this.#replace(endpoints, shared === undefined ? new Map<string, Member>() : shared.#members);
    } catch (error) {
      if (shared === undefined) credentials?.close();
      throw error;
    }
    this.#unwatch = dependencies.watch?.(this);
  }

  /** Exchanges the endpoints, as discovery found them: those whose address and identity stay go on, with their new weight and place; those that are gone finish what they carry. */
  setEndpoints(endpoints: readonly EndpointConfig[]): void {
    const previous = this.#members;
    this.#replace(endpoints, previous);
    closeOthers(previous, this.#members);
  }

  /** Changes nothing if an endpoint cannot be made. */
  #replace(endpoints: readonly EndpointConfig[], kept: ReadonlyMap<string, Member>): void {
    const next = new Map<string, Member>();
    try {
      for (const config of endpoints) {
        const address = formatAddress(config.address);
        if (next.has(address)) continue;
        const before = kept.get(address);
        // Who must be there is part of what an endpoint is: its connections prove it. The version before may have given it up since it was taken over.
        const isKept = before !== undefined && before.config.identity === config.identity && !before.endpoint.isClosed;
        next.set(address, new Member(isKept ? before.endpoint : this.#create(config), config));
      }
    } catch (error) {
      closeOthers(next, kept);
      throw error;
    }
    this.#members = next;
    for (const selection of this.#selections.values()) selection.setMembers([...next.values()]);
    this.#changesSeen = -1;
  }

  get endpoints(): readonly Endpoint[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  /** The endpoints with what configuration says of each. */
  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  /** Chooses an endpoint and sends the request there. */
  readonly balance: Service;

  /** The same among endpoints that have these labels. Made once for each subset, when the configuration is. */
  balanceOver(subset: Subset | undefined): Service {
    const { balance } = this.config;
    const selection = this.#selectionOf(subset);
    const send: Service = (request, exchange) => {
      const member = this.#choose(selection, request, exchange);
      if (member === undefined) return Promise.reject(new ProxyError(selection.refusal));
      return member.endpoint.service(request, exchange);
    };
    return stack([stickyCookie(balance.hash, this.#dependencies.random), this.#mayWait ? untilAccepted : undefined], send);
  }

  /** Tells whether there is an endpoint with these labels that a request has not tried. Made once for each subset, when the configuration is. */
  anotherOver(subset: Subset | undefined): (exchange: Exchange) => boolean {
    const selection = this.#selectionOf(subset ?? this.config.balance.subset);
    return (exchange) => {
      if (this.#isStale()) this.#refresh();
      return selection.hasAnother(exchange);
    };
  }

  /** Chooses an endpoint that has these labels and opens a connection there: for what is not HTTP. */
  streamOver(subset: Subset | undefined): Service {
    const selection = this.#selectionOf(subset ?? this.config.balance.subset);
    const open: Service = (request, exchange) => {
      const member = this.#choose(selection, request, exchange);
      if (member === undefined) return Promise.reject(new ProxyError(selection.refusal));
      return member.endpoint.stream(request, exchange);
    };
    return stack([this.#mayWait ? untilAccepted : undefined], open);
  }

  /** Whether a request may wait between the choice of its endpoint and that endpoint's breaker. */
  get #mayWait(): boolean {
    return this.config.breaker !== undefined && this.config.limits?.maxConnections !== undefined;
  }

  /** How traffic is divided between zones and priorities at the moment, nearest first. */
  groups(): readonly Group[] {
    if (this.#isStale()) this.#refresh();
    return this.#selectionOf(this.config.balance.subset).groups;
  }

  /** Whether some traffic is sent to endpoints that are not healthy, for want of those that are. */
  isPanic(): boolean {
    if (this.#isStale()) this.#refresh();
    return this.#isPanic;
  }

  /** Closes the endpoints that `successor` did not take over; exchanges in flight finish. */
  retire(successor?: Upstream): void {
    this.#unwatch?.();
    if (successor === undefined || successor.#credentials !== this.#credentials) this.#credentials?.close();
    closeOthers(this.#members, successor === undefined ? undefined : successor.#members);
  }

  #choose(selection: Selection, request: HttpRequest, exchange: Exchange): Member | undefined {
    exchange.upstream = this.name;
    if (this.#isStale()) this.#refresh();
    const member = selection.choose(request, exchange);
    if (member !== undefined) exchange.tried.push(member.name);
    return member;
  }

  #selectionOf(subset: Subset | undefined): Selection {
    const key = JSON.stringify(Object.entries(subset ?? {}).sort());
    let selection = this.#selections.get(key);
    if (selection === undefined) {
      const { zone } = this.#dependencies;
      this.#selections.set(key, (selection = new Selection(subset, this.config.balance, zone, this.#dependencies)));
      selection.setMembers(this.members);
      this.#changesSeen = -1;
    }
    return selection;
  }

  #isStale(): boolean {
    return this.#changes.count !== this.#changesSeen || (this.#weighAt !== Infinity && this.#dependencies.clock.now() >= this.#weighAt);
  }

  #refresh(): void {
    const { clock, onPanic } = this.#dependencies;
    this.#changesSeen = this.#changes.count;
    this.#weighAt = weigh(this.members, this.config.balance.slowStart, clock.now());
    let isPanic = false;
    for (const selection of this.#selections.values()) {
      selection.refresh();
      isPanic ||= selection.isPanic;
    }
    if (isPanic === this.#isPanic) return;
    this.#isPanic = isPanic;
    onPanic?.(this.name, isPanic);
  }
}

/** Closes the endpoints that are not among `kept`. */
function closeOthers(members: ReadonlyMap<string, Member>, kept: ReadonlyMap<string, Member> | undefined): void {
  for (const [address, { endpoint }] of members) if (kept?.get(address)?.endpoint !== endpoint) endpoint.close();
}
