import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';
import { collectMetrics, exposition } from '../../telemetry/exposition.js';
import type { ProxyMetrics } from '../../telemetry/proxy-metrics.js';
import { DataPlane } from '../data-plane.js';
import type { Proxy, ProxyConfig, ProxyDefinition, Shared } from '../proxy.js';
import type { ProcessContext } from '../run-process.js';
import type { Fleet } from './fleet.js';

/** A proxy in the process of its front. */
export class OneProcess<Config extends ProxyConfig, Dynamic extends Shared> implements Fleet<Config, Dynamic> {
  readonly #dataPlane: DataPlane;
  #proxy: Proxy<Dynamic> | undefined;

  constructor(
    private readonly definition: ProxyDefinition<Config, Dynamic>,
    private readonly config: Config,
    { clock, logger }: ProcessContext<Config>,
  ) {
    this.#dataPlane = new DataPlane(clock, logger, { accessLog: config.accessLog, zone: config.zone, identity: config.identity });
  }

  get metrics(): ProxyMetrics {
    return this.#dataPlane.metrics;
  }

  async create(): Promise<void> {
    this.#proxy = await this.definition.create(this.config, this.#dataPlane);
  }

  listen(): Promise<Readonly<Record<string, AddressInfo>>> {
    return this.#proxy!.listen();
  }

  isServing(): boolean {
    return true;
  }

  async apply(dynamic: Dynamic): Promise<void> {
    (await this.#proxy!.prepare(dynamic)).commit();
  }

  async reload(config: Config): Promise<void> {
    const { dynamicOf, withDynamic } = this.definition;
    const dynamic = dynamicOf(config);
    if (!isDeepStrictEqual(withDynamic(this.config, dynamic), withDynamic(config, dynamic))) {
      throw new Error('more has changed than routes, policies and upstreams: that takes a restart, or `workers: 2` or more');
    }
    await this.apply(dynamic);
  }

  refreshIdentity(): Promise<void> {
    return this.#dataPlane.refreshIdentity();
  }

  async upstreams(): Promise<UpstreamDescription[]> {
    // The admin server is there before the proxy.
    return this.#proxy?.upstreams() ?? [];
  }

  async collect(): Promise<Buffer> {
    return exposition(await collectMetrics(this.metrics.registry));
  }

  drain(): Promise<void> {
    return this.#proxy!.drain();
  }

  async close(): Promise<void> {
    await this.#proxy?.close();
    this.#dataPlane.close();
  }
}
