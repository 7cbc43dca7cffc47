import type { GatewayDynamicConfig, RouteConfig } from './config.js';
import { routeStack, sideStack } from './stack.js';
import { pauses } from '../shared/clock/long-work.js';
import { Generation } from '../shared/config/generation.js';
import { ProxyError } from '../shared/errors/proxy-error.js';
import type { Service } from '../shared/http/service.js';
import { discover, type Discovered, type DiscoverDependencies } from '../shared/discovery/discover.js';
import { delivery } from '../shared/policy/delivery.js';
import type { Policies } from '../shared/policy/policies.js';
import { destination } from '../shared/routing/destination.js';
import { routeName, routeScope } from '../shared/routing/route-name.js';
import { RouteTable } from '../shared/routing/route-table.js';
import type { NamesInUse } from '../shared/telemetry/names-in-use.js';
import type { UpstreamWatches } from '../shared/upstream/health/upstream-watches.js';
import type { UpstreamDependencies } from '../shared/upstream/upstream.js';
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
    private readonly discovered: Discovered,
  ) {}

  static async build(config: GatewayDynamicConfig, dependencies: PlanDependencies, previous?: Plan): Promise<Plan> {
    const generation = new Generation(previous?.generation);
    // Requests go on meanwhile, on the version before.
    const pause = pauses();
    let upstreams: UpstreamSet | undefined;
    try {
      await dependencies.watches.open(config.upstreams, generation);
      const discovered = await discover(config.upstreams, generation, dependencies.discovery);
      upstreams = await UpstreamSet.open(discovered.configs, dependencies, previous?.upstreams);
      const table = new RouteTable<Destination>();
      for (const route of config.routes) {
        const name = routeName(route);
        await generation.keep(`series of ${name}`, () => ({ close: dependencies.routes.use(name) }));
        table.add(route.match, { name, service: await routeService(route, upstreams, generation, dependencies) });
        await pause();
      }
      return new Plan(config, upstreams, table, generation, discovered);
    } catch (error) {
      upstreams?.retire(previous?.upstreams);
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

  /** From here on it is in force, and takes the place of `previous`. Until then that one alone hears of what discovery finds. */
  takeOver(previous?: Plan): void {
    this.discovered.feed(this.upstreams);
    previous?.retire(this);
  }

  retire(successor?: Plan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}

export interface PlanDependencies extends UpstreamDependencies {
  readonly policies: Policies;
  readonly watches: UpstreamWatches;
  readonly routes: NamesInUse;
  readonly discovery: DiscoverDependencies;
}

async function routeService(route: RouteConfig, upstreams: UpstreamSet, generation: Generation, dependencies: PlanDependencies): Promise<Service> {
  const { policies } = dependencies;
  const scope = routeScope(route);
  return routeStack(
    {
      jwt: route.jwt && (await policies.jwt(generation, route.jwt)),
      authorization: route.authorization && (await policies.authorization(generation, scope.name, route.authorization)),
      rateLimit: route.rateLimit && (await policies.rateLimit(generation, scope, route.rateLimit)),
      fault: route.fault && policies.fault(route.fault),
    },
    await destination(route, upstreams, dependencies, async (upstream, shaping) =>
      sideStack({ ...shaping, ...(await delivery(generation, dependencies, upstream, { ...route, scope })) }, route.subset === undefined ? upstream.balance : upstream.balanceOver(route.subset)),
    ),
  );
}
