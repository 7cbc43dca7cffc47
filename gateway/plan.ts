import type { GatewayDynamicConfig, RouteConfig } from './config.js';
import { routeStack } from './stack.js';
import { Generation } from '../shared/config/generation.js';
import { ProxyError } from '../shared/errors/proxy-error.js';
import type { Service } from '../shared/http/service.js';
import { deadline } from '../shared/policy/deadline/deadline.js';
import type { Policies } from '../shared/policy/policies.js';
import { RouteTable } from '../shared/routing/route-table.js';
import { defaultTimeoutMs } from '../shared/upstream/timeouts.js';
import type { Upstream, UpstreamDependencies } from '../shared/upstream/upstream.js';
import { UpstreamSet } from '../shared/upstream/upstream-set.js';

interface Destination {
  readonly name: string;
  readonly service: Service;
}

/** One version of routes and upstreams, ready to serve; the next version takes over what is unchanged. */
export class Plan {
  private constructor(
    readonly config: GatewayDynamicConfig,
    readonly upstreams: UpstreamSet,
    private readonly table: RouteTable<Destination>,
    private readonly generation: Generation,
  ) {}

  static async build(config: GatewayDynamicConfig, dependencies: PlanDependencies, previous?: Plan): Promise<Plan> {
    const generation = new Generation(previous?.generation);
    const upstreams = new UpstreamSet(config.upstreams, dependencies, previous?.upstreams);
    try {
      const table = new RouteTable<Destination>();
      for (const route of config.routes) {
        const name = routeName(route);
        // Checked when the configuration was read: every route's upstream exists.
        const upstream = upstreams.get(route.upstream)!;
        table.add(route.match, { name, service: await routeService(name, route, upstream, generation, dependencies) });
      }
      return new Plan(config, upstreams, table, generation);
    } catch (error) {
      upstreams.retire(previous?.upstreams);
      generation.retire(previous?.generation);
      throw error;
    }
  }

  /** Sends a request down its route. */
  readonly route: Service = (request, exchange) => {
    const destination = this.table.find(request);
    if (destination === undefined) return Promise.reject(new ProxyError('no_route'));
    exchange.route = destination.name;
    return destination.service(request, exchange);
  };

  retire(successor?: Plan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}

export interface PlanDependencies extends UpstreamDependencies {
  readonly policies: Policies;
}

async function routeService(name: string, route: RouteConfig, upstream: Upstream, generation: Generation, dependencies: PlanDependencies): Promise<Service> {
  const { policies, clock } = dependencies;
  const retryScope = route.retry === undefined ? `upstream ${upstream.name}` : `route ${name}`;
  const retryConfig = route.retry ?? upstream.config.retry;
  return routeStack(
    {
      grpc: policies.grpc(upstream.config, route.timeout ?? upstream.config.timeout),
      jwt: route.jwt && (await policies.jwt(generation, route.jwt)),
      rateLimit: route.rateLimit && (await policies.rateLimit(generation, `route ${name}`, route.rateLimit)),
      deadline: deadline(route.timeout ?? upstream.config.timeout ?? defaultTimeoutMs, { clock }),
      retry: retryConfig && (await policies.retry(generation, retryScope, upstream.name, retryConfig)),
    },
    upstream.balance,
  );
}

function routeName({ name, match }: RouteConfig): string {
  const methods = match.method === undefined ? '' : `${[match.method].flat().join(',')} `;
  return name ?? `${methods}${match.host ?? ''}${match.path}`;
}

