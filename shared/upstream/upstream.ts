import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { UpstreamConfig } from '../config/sections.js';
import { formatAddress } from '../config/units.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Exchange } from '../http/exchange.js';
import type { Service } from '../http/service.js';
import { balancer, type Balancer } from './balance/balancer.js';
import { ClientCredentials } from '../tls/client-credentials.js';
import type { PemStore } from '../tls/pem-store.js';
import { Endpoint } from './endpoint.js';

export interface UpstreamDependencies {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  readonly random: () => number;
  readonly pems: PemStore;
  /** Puts the layers of the process's stack in front of a new endpoint. */
  readonly guard: (endpoint: Endpoint, upstream: string, config: UpstreamConfig) => void;
}

/** A named service to send to, and the endpoints that make it up. */
export class Upstream {
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #list: readonly Endpoint[];
  readonly #balancer: Balancer;
  readonly #settings: string;

  /** With `previous`, endpoints that are unchanged are taken over with their connections, breakers and latencies. */
  constructor(
    readonly name: string,
    readonly config: UpstreamConfig,
    dependencies: UpstreamDependencies,
    previous?: Upstream,
  ) {
    const { endpoints, ...settings } = config;
    this.#settings = JSON.stringify(settings);
    this.#balancer = balancer(config.balance, dependencies);
    const kept = previous !== undefined && previous.#settings === this.#settings ? previous.#endpoints : undefined;
    const credentials = config.tls && new ClientCredentials(config.tls, dependencies.pems);
    for (const address of endpoints) {
      const key = formatAddress(address);
      if (this.#endpoints.has(key)) continue;
      let endpoint = kept?.get(key);
      if (endpoint === undefined) {
        endpoint = new Endpoint(address, config, { ...dependencies, credentials });
        dependencies.guard(endpoint, name, config);
      }
      this.#endpoints.set(key, endpoint);
    }
    this.#list = [...this.#endpoints.values()];
  }

  get endpoints(): readonly Endpoint[] {
    return this.#list;
  }

  /** Chooses an endpoint and sends the request there. */
  readonly balance: Service = (request, exchange) => {
    exchange.upstream = this.name;
    const endpoint = this.#choose(exchange);
    if (endpoint instanceof ProxyError) return Promise.reject(endpoint);
    exchange.tried.push(endpoint.name);
    return endpoint.service(request, exchange);
  };

  /** Closes the endpoints that `successor` did not take over; exchanges in flight finish. */
  retire(successor?: Upstream): void {
    for (const [key, endpoint] of this.#endpoints) {
      if (successor === undefined || successor.#endpoints.get(key) !== endpoint) endpoint.close();
    }
  }

  #choose(exchange: Exchange): Endpoint | ProxyError {
    const all = this.#list;
    if (all.length === 0) return new ProxyError('no_endpoint');
    // A breaker that wants to know whether its endpoint has recovered gets the next request: left to the
    // balancer, an endpoint that was slow before it was cut out would not be chosen for long.
    const probe = all.find((endpoint) => endpoint.gate.state() === 'half-open' && endpoint.gate.accepts());
    if (probe !== undefined && !exchange.tried.includes(probe.name)) return probe;
    const accepting = all.every(accepts) ? all : all.filter(accepts);
    if (accepting.length === 0) return new ProxyError('breaker_open');
    if (exchange.tried.length === 0) return this.#balancer(accepting);
    // A retry goes elsewhere, if there is an elsewhere.
    const fresh = accepting.filter((endpoint) => !exchange.tried.includes(endpoint.name));
    return this.#balancer(fresh.length === 0 ? accepting : fresh);
  }
}

const accepts = (endpoint: Endpoint): boolean => endpoint.gate.accepts();
