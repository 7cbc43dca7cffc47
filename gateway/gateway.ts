import type { AddressInfo } from 'node:net';
import type { GatewayConfig, GatewayDynamicConfig } from './config.js';
import { edgeServices } from './edge.js';
import { Plan, type PlanDependencies } from './plan.js';
import { TcpListeners } from '../shared/tcp/tcp-listeners.js';
import { createListener, type DrainOptions, type Listener } from '../shared/listener/listener.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import type { Prepared, Proxy } from '../shared/process/proxy.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';

/** The ambassador: one listener at the edge, and the routes behind it. */
export class Gateway implements Proxy<GatewayDynamicConfig> {
  readonly #listener: Listener;
  readonly #dependencies: PlanDependencies;
  readonly #current: { plan: Plan };
  readonly #tcp: TcpListeners;

  private constructor(
    listener: Listener,
    current: { plan: Plan },
    config: GatewayConfig,
    private readonly dataPlane: DataPlane,
  ) {
    this.#listener = listener;
    this.#current = current;
    this.#dependencies = dataPlane.dependencies;
    this.#tcp = new TcpListeners(config.tcp, dataPlane, (name) => current.plan.upstreams.get(name));
  }

  static async create(config: GatewayConfig, dataPlane: DataPlane): Promise<Gateway> {
    const current = { plan: await Plan.build(config, dataPlane.dependencies) };
    current.plan.takeOver();
    const listener = await createListener({
      name: 'edge',
      listen: config.listen,
      credentials: config.listen.tls && dataPlane.serverCredentials(config.listen.tls),
      limits: config.limits,
      clock: dataPlane.clock,
      ...edgeServices(config, dataPlane, (request, exchange) => current.plan.route(request, exchange)),
      onConnection: dataPlane.connectionGauge('edge'),
      onRefusal: dataPlane.refusalReport('edge'),
      onBadHeader: dataPlane.badHeaderReport('edge'),
      onFlood: dataPlane.floodReport('edge'),
    });
    return new Gateway(listener, current, config, dataPlane);
  }

  async listen(): Promise<Readonly<Record<string, AddressInfo>>> {
    const addresses = { listen: await this.#listener.listen(), ...(await this.#tcp.listen()) };
    for (const address of Object.values(addresses)) this.dataPlane.ownAddresses.add(address);
    return addresses;
  }

  upstreams(): UpstreamDescription[] {
    return this.#current.plan.upstreams.describe(this.#dependencies.clock.now());
  }

  async prepare({ routes, upstreams }: GatewayDynamicConfig): Promise<Prepared> {
    const previous = this.#current.plan;
    const plan = await Plan.build({ routes, upstreams }, this.#dependencies, previous);
    return {
      commit: () => {
        this.#current.plan = plan;
        plan.takeOver(previous);
      },
      discard: () => plan.retire(previous),
    };
  }

  /** Stops accepting and resolves when the last exchange is over. */
  async drain(options?: DrainOptions): Promise<void> {
    this.#dependencies.watches.endChecks();
    await Promise.all([this.#listener.drain(options), this.#tcp.drain()]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#listener.close(), this.#tcp.close()]);
    this.#current.plan.retire();
  }
}
