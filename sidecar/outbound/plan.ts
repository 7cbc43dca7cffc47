import type { SidecarDynamicConfig } from '../config.js';
import { pauses } from '../../shared/clock/long-work.js';
import { Generation } from '../../shared/config/generation.js';
import type { ShapedRoute } from '../../shared/config/shaping.js';
import { ProxyError } from '../../shared/errors/proxy-error.js';
import type { Service } from '../../shared/http/service.js';
import { discover, type Discovered, type DiscoverDependencies } from '../../shared/discovery/discover.js';
import { deadline } from '../../shared/policy/deadline/deadline.js';
import { delivery } from '../../shared/policy/delivery.js';
import type { Policies } from '../../shared/policy/policies.js';
import { destination } from '../../shared/routing/destination.js';
import { scopeNamed } from '../../shared/policy/scope.js';
import { routeName, routeScope } from '../../shared/routing/route-name.js';
import { hostOf, RouteTable } from '../../shared/routing/route-table.js';
import type { NamesInUse } from '../../shared/telemetry/names-in-use.js';
import type { UpstreamWatches } from '../../shared/upstream/health/upstream-watches.js';
import type { UpstreamDependencies } from '../../shared/upstream/upstream.js';
import { UpstreamSet } from '../../shared/upstream/upstream-set.js';
import { defaultTimeoutMs } from '../../shared/upstream/timeouts.js';
import { Passthrough } from './passthrough.js';
import { routeStack, sideStack } from './stack.js';

interface Destination {
  readonly name: string;
  readonly service: Service;
}

type OutboundConfig = Pick<SidecarDynamicConfig, 'routes' | 'upstreams'> & { readonly unknownHosts?: 'refuse' | 'passthrough' | undefined };
type OutboundDependencies = UpstreamDependencies & { readonly policies: Policies; readonly watches: UpstreamWatches; readonly routes: NamesInUse; readonly discovery: DiscoverDependencies };

/** One version of the services that the application may call. */
export class OutboundPlan {
  private constructor(
    readonly upstreams: UpstreamSet,
    private readonly services: ReadonlyMap<string, Service>,
    private readonly table: RouteTable<Destination> | undefined,
    private readonly unknownHost: Service,
    private readonly generation: Generation,
    private readonly discovered: Discovered,
  ) {}

  static async build({ routes, upstreams: configs, unknownHosts }: OutboundConfig, dependencies: OutboundDependencies, previous?: OutboundPlan): Promise<OutboundPlan> {
    const generation = new Generation(previous?.generation);
    // Requests go on meanwhile, on the version before.
    const pause = pauses();
    let upstreams: UpstreamSet | undefined;
    try {
      await dependencies.watches.open(configs, generation);
      const discovered = await discover(configs, generation, dependencies.discovery);
      upstreams = await UpstreamSet.open(discovered.configs, dependencies, previous?.upstreams);
      const services = new Map<string, Service>();
      for (const upstream of upstreams) {
        const { name, balance } = upstream;
        await generation.keep(`series of ${name}`, () => ({ close: dependencies.routes.use(name) }));
        services.set(name, sideStack(await delivery(generation, dependencies, upstream, { scope: scopeNamed(`upstream ${name}`) }), balance));
        await pause();
      }
      const table = routes.length === 0 ? undefined : new RouteTable<Destination>();
      for (const route of routes) {
        const name = routeName(route);
        await generation.keep(`series of ${name}`, () => ({ close: dependencies.routes.use(name) }));
        table?.add(route.match, { name, service: await routeService(route, upstreams, generation, dependencies) });
        await pause();
      }
      const unknownHost = unknownHosts === 'passthrough' ? await passthroughService(generation, dependencies) : refuse;
      return new OutboundPlan(upstreams, services, table, unknownHost, generation, discovered);
    } catch (error) {
      upstreams?.retire(previous?.upstreams);
      generation.retire(previous?.generation);
      throw error;
    }
  }

  /** A route for the host that the application asked for, or else the upstream of that name; any port is as good as another. */
  readonly route: Service = (request, exchange) => {
    const routed = this.table?.find(request);
    if (routed !== undefined) {
      exchange.route = routed.name;
      return routed.service(request, exchange);
    }
    const name = hostOf(request.authority);
    const service = this.services.get(name);
    if (service === undefined) return this.unknownHost(request, exchange);
    exchange.route = name;
    return service(request, exchange);
  };

  /** From here on it is in force, and takes the place of `previous`. Until then that one alone hears of what discovery finds. */
  takeOver(previous?: OutboundPlan): void {
    this.discovered.feed(this.upstreams);
    previous?.retire(this);
  }

  retire(successor?: OutboundPlan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}

const refuse: Service = () => Promise.reject(new ProxyError('no_route'));

/** Strangers are told nothing of the mesh, and what they answer is nobody's to try again. */
async function passthroughService(generation: Generation, dependencies: OutboundDependencies): Promise<Service> {
  const passthrough = await generation.keep('passthrough', () => new Passthrough(dependencies));
  const none = { grpc: undefined, priority: undefined, concurrency: undefined, retry: undefined, hedge: undefined, announce: undefined };
  return sideStack({ ...none, deadline: deadline(defaultTimeoutMs, dependencies) }, passthrough.service);
}

async function routeService(route: ShapedRoute, upstreams: UpstreamSet, generation: Generation, dependencies: OutboundDependencies): Promise<Service> {
  const { policies } = dependencies;
  return routeStack(
    { fault: route.fault && policies.fault(route.fault) },
    await destination(route, upstreams, dependencies, async (upstream, shaping) =>
      sideStack({ ...shaping, ...(await delivery(generation, dependencies, upstream, { ...route, scope: routeScope(route) })) }, route.subset === undefined ? upstream.balance : upstream.balanceOver(route.subset)),
    ),
  );
}
