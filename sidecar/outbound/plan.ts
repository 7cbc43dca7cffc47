import { Generation } from '../../shared/config/generation.js';
import type { UpstreamConfig } from '../../shared/config/sections.js';
import { ProxyError } from '../../shared/errors/proxy-error.js';
import type { Service } from '../../shared/http/service.js';
import { deadline } from '../../shared/policy/deadline/deadline.js';
import type { Policies } from '../../shared/policy/policies.js';
import { hostOf } from '../../shared/routing/route-table.js';
import { defaultTimeoutMs } from '../../shared/upstream/timeouts.js';
import type { UpstreamDependencies } from '../../shared/upstream/upstream.js';
import { UpstreamSet } from '../../shared/upstream/upstream-set.js';
import { routeStack } from './stack.js';

/** One version of the services that the application may call. */
export class OutboundPlan {
  private constructor(
    readonly upstreams: UpstreamSet,
    private readonly services: ReadonlyMap<string, Service>,
    private readonly generation: Generation,
  ) {}

  static async build(
    configs: Readonly<Record<string, UpstreamConfig>>,
    dependencies: UpstreamDependencies & { policies: Policies },
    previous?: OutboundPlan,
  ): Promise<OutboundPlan> {
    const generation = new Generation(previous?.generation);
    const upstreams = new UpstreamSet(configs, dependencies, previous?.upstreams);
    try {
      const services = new Map<string, Service>();
      for (const { name, config, balance } of upstreams) {
        const retry = config.retry && (await dependencies.policies.retry(generation, `upstream ${name}`, name, config.retry));
        services.set(name, routeStack({ grpc: dependencies.policies.grpc(config, config.timeout), deadline: deadline(config.timeout ?? defaultTimeoutMs, dependencies), retry }, balance));
      }
      return new OutboundPlan(upstreams, services, generation);
    } catch (error) {
      upstreams.retire(previous?.upstreams);
      generation.retire(previous?.generation);
      throw error;
    }
  }

  /** The host that the application asked for names the upstream; any port is as good as another. */
  readonly route: Service = (request, exchange) => {
    const name = hostOf(request.authority);
    const service = this.services.get(name);
    if (service === undefined) return Promise.reject(new ProxyError('no_route'));
    exchange.route = name;
    return service(request, exchange);
  };

  retire(successor?: OutboundPlan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}
