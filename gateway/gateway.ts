import type { AddressInfo } from 'node:net';
import type { GatewayConfig, GatewayDynamicConfig } from './config.js';
import { forwarded } from './forwarded.js';
import { Plan, type PlanDependencies } from './plan.js';
import { listenerStack } from './stack.js';
import type { Service } from '../shared/http/service.js';
import { via } from '../shared/intermediary/via.js';
import { Http1Listener } from '../shared/listener/http1-listener.js';
import { networkList } from '../shared/listener/network-list.js';
import { overload } from '../shared/policy/overload/overload.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import { tracing } from '../shared/telemetry/tracing.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';

/** The ambassador: one listener at the edge, and the routes behind it. */
export class Gateway {
  readonly #listener: Http1Listener;
  readonly #dependencies: PlanDependencies;
  #plan: Plan;

  private constructor(config: GatewayConfig, plan: Plan, dataPlane: DataPlane) {
    this.#plan = plan;
    this.#dependencies = dataPlane.dependencies;
    const layers = {
      ...dataPlane.layers('edge'),
      forwarded: forwarded({ trusted: networkList(config.trustedProxies), standardField: config.forwardedField }),
      via: via(config.via),
      tracing: tracing({ trustRequestId: false }),
      overload: overload(config.limits.maxInFlight),
    };
    const refuse: Service = (request) => Promise.reject(request.cancellation.reason);
    this.#listener = new Http1Listener({
      name: 'edge',
      listen: config.listen,
      credentials: config.listen.tls && dataPlane.serverCredentials(config.listen.tls),
      limits: config.limits,
      clock: dataPlane.clock,
      service: listenerStack(layers, (request, exchange) => this.#plan.route(request, exchange)),
      refuse: listenerStack(layers, refuse),
      onConnection: dataPlane.connectionGauge('edge'),
    });
  }

  static async create(config: GatewayConfig, dataPlane: DataPlane): Promise<Gateway> {
    const plan = await Plan.build(config, dataPlane.dependencies);
    return new Gateway(config, plan, dataPlane);
  }

  listen(): Promise<AddressInfo> {
    return this.#listener.listen();
  }

  get config(): GatewayDynamicConfig {
    return this.#plan.config;
  }

  upstreams(): UpstreamDescription[] {
    return this.#plan.upstreams.describe(this.#dependencies.clock.now());
  }

  /** Exchanges routes and upstreams; requests in flight finish on the old ones. Rejects, and changes nothing, if they cannot be built. */
  async apply(config: GatewayDynamicConfig): Promise<void> {
    const previous = this.#plan;
    this.#plan = await Plan.build(config, this.#dependencies, previous);
    previous.retire(this.#plan);
  }

  /** Stops accepting and resolves when the last exchange is over. */
  drain(): Promise<void> {
    return this.#listener.drain();
  }

  async close(): Promise<void> {
    await this.#listener.close();
    this.#plan.retire();
  }
}
