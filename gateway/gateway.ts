import type { AddressInfo } from 'node:net';
import type { GatewayConfig, GatewayDynamicConfig } from './config.js';
import { edgeServices } from './edge.js';
import { Plan, type PlanDependencies } from './plan.js';
import { createListener, type DrainOptions, type Listener } from '../shared/listener/listener.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import type { Proxy } from '../shared/process/proxy.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';

/** The ambassador: one listener at the edge, and the routes behind it. */
export class Gateway implements Proxy<GatewayDynamicConfig> {
  readonly #listener: Listener;
  readonly #dependencies: PlanDependencies;
  readonly #current: { plan: Plan };

  private constructor(listener: Listener, current: { plan: Plan }, dependencies: PlanDependencies) {
    this.#listener = listener;
    this.#current = current;
    this.#dependencies = dependencies;
  }

  static async create(config: GatewayConfig, dataPlane: DataPlane): Promise<Gateway> {
    const current = { plan: await Plan.build(config, dataPlane.dependencies) };
    const listener = await createListener({
      name: 'edge',
      listen: config.listen,
      credentials: config.listen.tls && dataPlane.serverCredentials(config.listen.tls),
      limits: config.limits,
      clock: dataPlane.clock,
      ...edgeServices(config, dataPlane, (request, exchange) => current.plan.route(request, exchange)),
      onConnection: dataPlane.connectionGauge('edge'),
      onFlood: dataPlane.floodReport('edge'),
    });
    return new Gateway(listener, current, dataPlane.dependencies);
  }

  async listen(): Promise<{ listen: AddressInfo }> {
    return { listen: await this.#listener.listen() };
  }

  upstreams(): UpstreamDescription[] {
    return this.#current.plan.upstreams.describe(this.#dependencies.clock.now());
  }

  /** Exchanges routes and upstreams; requests in flight finish on the old ones. Rejects, and changes nothing, if they cannot be built. */
  async apply(config: GatewayDynamicConfig): Promise<void> {
    const previous = this.#current.plan;
    this.#current.plan = await Plan.build(config, this.#dependencies, previous);
    previous.retire(this.#current.plan);
  }

  /** Stops accepting and resolves when the last exchange is over. */
  drain(options?: DrainOptions): Promise<void> {
    this.#dependencies.watches.endChecks();
    return this.#listener.drain(options);
  }

  async close(): Promise<void> {
    await this.#listener.close();
    this.#current.plan.retire();
  }
}
