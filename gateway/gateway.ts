import type { AddressInfo } from 'node:net';
import type { GatewayConfig, GatewayDynamicConfig } from './config.js';
import { edgeServices } from './edge.js';
import { Plan, type PlanDependencies } from './plan.js';
import { createListener, type Listener } from '../shared/listener/listener.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';

/** The ambassador: one listener at the edge, and the routes behind it. */
export class Gateway {
  readonly #listener: Listener;
  readonly #dependencies: PlanDependencies;
  #plan: Plan;

  private constructor(config: GatewayConfig, plan: Plan, dataPlane: DataPlane) {
    this.#plan = plan;
    this.#dependencies = dataPlane.dependencies;
    this.#listener = createListener({
      name: 'edge',
      listen: config.listen,
      credentials: config.listen.tls && dataPlane.serverCredentials(config.listen.tls),
      limits: config.limits,
      clock: dataPlane.clock,
      ...edgeServices(config, dataPlane, (request, exchange) => this.#plan.route(request, exchange)),
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
