import { BlockList, isIPv4 } from 'node:net';
import type { Clock, Timer } from '../clock/clock.js';
import type { DnsDiscoveryConfig } from '../config/discovery.js';
import { plainEndpoint, type EndpointConfig } from '../config/endpoints.js';
import { DnsClient } from './dns-client.js';
import type { RecordType, SrvRecord } from './dns-message.js';
import type { DiscoveryFailure, DiscoveryListener, DiscoverySource } from './source.js';

interface DnsSourceDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** More endpoints, or SRV targets, than this are not taken: an answer must not decide how much work it makes. */
const maxEndpoints = 1_000;
const maxTargets = 64;
/** As many as an endpoint's priority knows. */
const maxPriority = 16;
/** As much as an endpoint's weight may be. */
const maxWeight = 1_000;
/** RFC 2782 gives a weight of 0 a very small chance beside others, which 1 is in the end; and where all have 0, the same to each. */
const nextToNothing = 1e-6;
const jitter = 0.1;

/** Addresses that no endpoint can have: unspecified, multicast, broadcast. */
const unusable = new BlockList();
unusable.addSubnet('0.0.0.0', 8, 'ipv4');
unusable.addSubnet('224.0.0.0', 4, 'ipv4');
unusable.addAddress('255.255.255.255', 'ipv4');
unusable.addAddress('::', 'ipv6');
unusable.addSubnet('ff00::', 8, 'ipv6');

interface Addresses {
  readonly addresses: readonly string[];
  readonly ttl: number;
}

/**
 * Endpoints from the DNS.
 *
 * The name is looked up again when the least TTL of what was found has run out, within `refreshMin` and `refreshMax`, and a little
 * later than that by chance, so that proxies do not ask in step. A look-up that fails is repeated after `refreshMin`, then ever more
 * slowly. Each question keeps its own last answer: when A is answered and AAAA is not, or one SRV target of several, what
 * that one said last still counts. But a name that is answered without addresses has none of that family.
 */
export class DnsSource implements DiscoverySource {
  readonly kind = 'dns';
  readonly #client: DnsClient;
  /** By name and type. */
  #known = new Map<string, Addresses>();
  #ignored: string[] = [];
  #listener: DiscoveryListener | undefined;
  #timer: Timer | undefined;
  #failures = 0;

  constructor(
    private readonly config: DnsDiscoveryConfig,
    private readonly dependencies: DnsSourceDependencies,
  ) {
    this.#client = new DnsClient({ resolvers: config.resolver, timeoutMs: config.timeout, clock: dependencies.clock });
  }

  start(listener: DiscoveryListener): void {
    this.#listener = listener;
    void this.#refresh();
  }

  close(): void {
    this.#listener = undefined;
    this.#timer?.cancel();
    this.#client.close();
  }

  async #refresh(): Promise<void> {
    const { refreshMin, refreshMax, type } = this.config;
    let pause: number;
    this.#ignored = [];
    try {
      const { endpoints, ttl } = await (type === 'a' ? this.#lookUpAddresses() : this.#lookUpServices());
      this.#failures = 0;
      pause = Math.min(refreshMax, Math.max(refreshMin, ttl * 1_000));
      if (this.#ignored.length > 0) this.#listener?.ignored(this.#ignored);
      this.#listener?.found(endpoints);
    } catch (error) {
      if (this.#listener === undefined) return;
      if (!(error instanceof LookUpError)) throw error;
      pause = Math.min(refreshMax, refreshMin * 2 ** Math.min(this.#failures++, 16));
      this.#listener.failed(error.failure);
    }
    const { clock, random } = this.dependencies;
    if (this.#isOpen()) this.#timer = clock.after(pause * (1 + jitter * random()), () => void this.#refresh());
  }

  #isOpen(): boolean {
    return this.#listener !== undefined;
  }

  async #lookUpAddresses(): Promise<{ endpoints: EndpointConfig[]; ttl: number }> {
    const { name, port } = this.config;
    const asked = new Set<string>();
    const { addresses, ttl } = await this.#addressesOf(name, asked);
    this.#forgetOthers(asked);
    return { endpoints: addresses.map((host) => plainEndpoint({ host, port: port! })), ttl };
  }

  async #lookUpServices(): Promise<{ endpoints: EndpointConfig[]; ttl: number }> {
    const { name } = this.config;
    const answer = await this.#client.query(name, 'SRV');
    if (answer.kind !== 'records') throw new LookUpError(failureOf(name, 'SRV', answer));
    const services = answer.services.filter((service) => this.#isUsable(service)).sort(byRank);
    if (services.length > maxTargets) this.#ignored.push(`${services.length - maxTargets} of ${services.length} SRV records: at most ${maxTargets} are used`);
    const asked = new Set<string>();
    const failures: DiscoveryFailure[] = [];
    let { ttl } = answer;
    const found = await Promise.all(
      services.slice(0, maxTargets).map(async (service) => {
        try {
          const { addresses, ttl: targetTtl } = await this.#addressesOf(service.target, asked);
          ttl = Math.min(ttl, targetTtl);
          return { service, addresses };
        } catch (error) {
          if (!(error instanceof LookUpError)) throw error;
          failures.push(error.failure);
          // Who says that there is no address is believed. Whoever could not be asked is asked again soon, and keeps what it said last.
          if (isAnswer(error.failure)) return { service, addresses: [] };
          ttl = 0;
          return { service, addresses: error.known };
        }
      }),
    );
    const endpoints = this.#bounded(endpointsOf(found), `endpoints of SRV ${name}`);
    if (endpoints.length === 0 || failures.length === found.length) throw new LookUpError(failures[0] ?? { result: 'no_data', details: [`SRV ${name}: no record can be used`, ...this.#ignored] });
    this.#forgetOthers(asked);
    for (const { details } of failures) this.#ignored.push(...details);
    return { endpoints, ttl };
  }

  #isUsable({ target, port }: SrvRecord): boolean {
    // RFC 2782: the root as a target says that the service is not to be had.
    if (target !== '' && port !== 0) return true;
    this.#ignored.push(`SRV ${this.config.name}: ${target === '' ? 'a target of "."' : `port 0 of ${target}`}`);
    return false;
  }

  /** The addresses of all families, of which at least one must have been found. `asked` collects what was asked. */
  async #addressesOf(name: string, asked: Set<string>): Promise<Addresses> {
    const { family } = this.config;
    const types: readonly RecordType[] = family === 'any' ? ['A', 'AAAA'] : family === 'ipv4' ? ['A'] : ['AAAA'];
    const failures: DiscoveryFailure[] = [];
    const all = await Promise.all(
      types.map(async (type): Promise<Addresses> => {
        const key = `${type} ${name.toLowerCase()}`;
        asked.add(key);
        const answer = await this.#client.query(name, type);
        if (answer.kind === 'records') {
          const addresses = answer.addresses.filter((address) => this.#isPossible(address, name));
          if (addresses.length > 0) {
            const known = { addresses, ttl: answer.ttl };
            this.#known.set(key, known);
            return known;
          }
        }
        const failure = failureOf(name, type, answer);
        failures.push(failure);
        // What says nothing of the addresses leaves those that are known; they are asked for again soon.
        if (failure.result === 'no_data') {
          this.#known.delete(key);
          return { addresses: [], ttl: Infinity };
        }
        return { addresses: this.#known.get(key)?.addresses ?? [], ttl: 0 };
      }),
    );
    const addresses = [...new Set(all.flatMap((one) => one.addresses))].sort();
    if (addresses.length === 0 || failures.length === types.length) {
      const failure = worstOf(failures);
      if (isAnswer(failure)) for (const type of types) this.#known.delete(`${type} ${name.toLowerCase()}`);
      throw new LookUpError(failure, addresses.slice(0, maxEndpoints));
    }
    return { addresses: this.#bounded(addresses, `addresses of ${name}`), ttl: Math.min(...all.map(({ ttl }) => ttl)) };
  }

  #bounded<T>(all: T[], what: string): T[] {
    if (all.length > maxEndpoints) this.#ignored.push(`${all.length - maxEndpoints} of ${all.length} ${what}: at most ${maxEndpoints} are used`);
    return all.slice(0, maxEndpoints);
  }

  #isPossible(address: string, name: string): boolean {
    if (!unusable.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')) return true;
    this.#ignored.push(`${address} of ${name}: no endpoint can have that address`);
    return false;
  }

  #forgetOthers(asked: ReadonlySet<string>): void {
    this.#known = new Map([...this.#known].filter(([key]) => asked.has(key)));
  }
}

class LookUpError extends Error {
  constructor(
    readonly failure: DiscoveryFailure,
    /** The addresses of before that still count. */
    readonly known: readonly string[] = [],
  ) {
    super(failure.details[0]);
  }
}

function failureOf(name: string, type: RecordType, answer: Awaited<ReturnType<DnsClient['query']>>): DiscoveryFailure {
  switch (answer.kind) {
    case 'not_found':
      return { result: 'not_found', details: [`${type} ${name}: there is no such name`] };
    case 'records':
    case 'no_data':
      return { result: 'no_data', details: [`${type} ${name}: there is no such record that can be used`] };
    case 'server_failure':
      return { result: 'server_failure', details: [`${type} ${name}: the resolver failed (${answer.code})`] };
    case 'timeout':
      return { result: 'timeout', details: [`${type} ${name}: no resolver answered in time`] };
  }
}

/** Whether it says something of the name, and not only of the resolver. */
const isAnswer = ({ result }: DiscoveryFailure): boolean => result === 'no_data' || result === 'not_found';

const severity = ['no_data', 'not_found', 'timeout', 'server_failure'];

/** The one that says most about what is wrong, with the details of all. */
function worstOf(failures: readonly DiscoveryFailure[]): DiscoveryFailure {
  const worst = [...failures].sort((a, b) => severity.indexOf(b.result) - severity.indexOf(a.result))[0]!;
  return { result: worst.result, details: failures.flatMap(({ details }) => details) };
}

/** Those that go first come first; otherwise in an order that says nothing, but is always the same: servers rotate theirs from answer to answer. */
function byRank(a: SrvRecord, b: SrvRecord): number {
  return a.priority - b.priority || Number(a.target > b.target) - Number(a.target < b.target) || a.port - b.port || b.weight - a.weight;
}

/**
 * What is found is in the order of `byRank`: SRV's priorities, which are any numbers, by their rank; its weights shared among the addresses
 * of a target, and scaled so that the heaviest of a rank has the most there is: a share is no whole number, and small ones would all be 1.
 */
function endpointsOf(found: readonly { readonly service: SrvRecord; readonly addresses: readonly string[] }[]): EndpointConfig[] {
  const used = found.filter(({ addresses }) => addresses.length > 0);
  const ranks = [...new Set(used.map(({ service }) => service.priority))];
  return ranks.flatMap((priority, rank) => {
    const peers = used.filter(({ service }) => service.priority === priority);
    const shares = peers.map(({ service, addresses }) => (service.weight || nextToNothing) / addresses.length);
    const heaviest = Math.max(...shares);
    return peers.flatMap(({ service, addresses }, index) => {
      const weight = Math.max(1, Math.round((shares[index]! / heaviest) * maxWeight));
      return addresses.map((host) => ({ ...plainEndpoint({ host, port: service.port }), weight, priority: Math.min(maxPriority, rank) }));
    });
  });
}
