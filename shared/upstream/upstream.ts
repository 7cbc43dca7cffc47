import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { EndpointConfig } from '../config/endpoints.js';
import type { UpstreamConfig } from '../config/sections.js';
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
  #endpoints: ReadonlyMap<string, Endpoint> = new Map();
  #list: readonly Endpoint[] = [];
  readonly #balancer: Balancer;
  readonly #settings: string;
  readonly #create: (config: EndpointConfig) => Endpoint;

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
    const credentials = config.tls && new ClientCredentials(config.tls, dependencies.pems);
    this.#create = (endpointConfig) => {
      const endpoint = new Endpoint(endpointConfig, config, { ...dependencies, credentials });
      dependencies.guard(endpoint, name, config);
      return endpoint;
    };
    this.#replace(endpoints, previous !== undefined && previous.#settings === this.#settings ? previous.#endpoints : new Map<string, Endpoint>());
  }

  /** Exchanges the endpoints, as discovery found them: unchanged ones go on as they are, those that are gone finish what they carry. */
  setEndpoints(endpoints: readonly EndpointConfig[]): void {
    const previous = this.#endpoints;
    this.#replace(endpoints, previous);
    for (const [key, endpoint] of previous) if (this.#endpoints.get(key) !== endpoint) endpoint.close();
  }

  #replace(endpoints: readonly EndpointConfig[], kept: ReadonlyMap<string, Endpoint>): void {
    const next = new Map<string, Endpoint>();
    for (const config of endpoints) {
      const key = JSON.stringify(config);
      if (!next.has(key)) next.set(key, kept.get(key) ?? this.#create(config));
    }
    this.#endpoints = next;
    this.#list = [...next.values()];
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
    const probe = all.find((endpoint) => endpoint.gate.state() === 'half-open' && accepts(endpoint));
    if (probe !== undefined && !exchange.tried.includes(probe.name)) return probe;
    const accepting = all.every(accepts) ? all : all.filter(accepts);
    if (accepting.length === 0) return new ProxyError(all.some(({ gate }) => !gate.accepts()) ? 'breaker_open' : 'no_endpoint');
    if (exchange.tried.length === 0) return this.#balancer(accepting);
    // A retry goes elsewhere, if there is an elsewhere.
    const fresh = accepting.filter((endpoint) => !exchange.tried.includes(endpoint.name));
    return this.#balancer(fresh.length === 0 ? accepting : fresh);
  }
}

const accepts = (endpoint: Endpoint): boolean => endpoint.health.isHealthy && endpoint.gate.accepts();
