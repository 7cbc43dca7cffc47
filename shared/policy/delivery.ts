import type { Clock } from '../clock/clock.js';
import type { Subset } from '../config/balance.js';
import type { Generation } from '../config/generation.js';
import { retrySchema, type RetryConfig } from '../config/policies.js';
import { retryBudgetSchema, type AdaptiveConcurrencyConfig, type HedgeConfig } from '../config/resilience.js';
import type { Layer } from '../http/service.js';
import type { UpstreamWatches } from '../upstream/health/upstream-watches.js';
import { defaultTimeoutMs } from '../upstream/timeouts.js';
import type { Upstream } from '../upstream/upstream.js';
import { routePriority } from './adaptive-concurrency/route-priority.js';
import { announce } from './announce/announce.js';
import { deadline } from './deadline/deadline.js';
import type { Policies } from './policies.js';
import { scopeNamed, type Scope } from './scope.js';

/** What a route, or an inbound listener, says itself about how its requests are sent; the rest is its upstream's. */
interface OwnDelivery {
  /** What the state of these policies belongs to. */
  readonly scope: Scope;
  /** The endpoints that are chosen from. */
  readonly subset?: Subset | undefined;
  readonly timeout?: number | undefined;
  readonly retry?: RetryConfig | undefined;
  readonly hedge?: HedgeConfig | undefined;
  readonly adaptiveConcurrency?: AdaptiveConcurrencyConfig | undefined;
  readonly priority?: string | undefined;
  readonly propagateDeadline?: boolean | undefined;
}

/** The layers between admission and the choice of an endpoint, in request order. */
export interface DeliveryLayers {
  readonly grpc: Layer | undefined;
  readonly priority: Layer | undefined;
  readonly concurrency: Layer | undefined;
  readonly deadline: Layer;
  readonly retry: Layer | undefined;
  readonly hedge: Layer | undefined;
  readonly announce: Layer | undefined;
}

export interface DeliveryDependencies {
  readonly policies: Policies;
  readonly clock: Clock;
  readonly watches: Pick<UpstreamWatches, 'get'>;
}

/**
 * Puts together how requests are sent to an upstream. State is shared by all that lead to the same one: its budget of
 * retries, its limit, its latency. A route that configures one of these itself has its own.
 */
export async function delivery(generation: Generation, dependencies: DeliveryDependencies, upstream: Upstream, own: OwnDelivery): Promise<DeliveryLayers> {
  const { policies, clock } = dependencies;
  const { config } = upstream;
  const shared = scopeNamed(`upstream ${upstream.name}`);
  const retry = own.retry ?? config.retry;
  const hedge = own.hedge ?? config.hedge;
  const concurrency = own.adaptiveConcurrency ?? config.adaptiveConcurrency;
  const announced = own.propagateDeadline ?? config.propagateDeadline;
  // A timeout that nobody chose is nothing that the next hop need be told.
  const told = announced === false ? 'never' : announced === true || (own.timeout ?? config.timeout) !== undefined ? 'always' : 'passed-on';
  const budget =
    own.retry?.budget === undefined
      ? await policies.retryBudget(generation, shared, config.retry?.budget ?? retryBudgetSchema.parse({}))
      : await policies.retryBudget(generation, own.scope, own.retry.budget);
  return {
    grpc: policies.grpc(config, own.timeout ?? config.timeout),
    priority: own.priority === undefined ? undefined : routePriority(own.priority),
    concurrency: concurrency && (await policies.adaptiveConcurrency(generation, own.adaptiveConcurrency === undefined ? shared : own.scope, concurrency)),
    deadline: deadline(own.timeout ?? config.timeout ?? defaultTimeoutMs, { clock }),
    retry: retry && policies.retry(upstream.name, retry, budget, dependencies.watches.get(upstream.name, config)?.bulkhead),
    hedge:
      hedge &&
      (await policies.hedge(generation, own.hedge === undefined ? shared : own.scope, upstream.name, hedge, {
        budget,
        deposits: retry === undefined,
        failures: retry?.on ?? retrySchema.parse({}).on,
        hasAnother: upstream.anotherOver(own.subset),
      })),
    announce: told !== 'never' || retry !== undefined || hedge !== undefined ? announce({ deadline: told, attemptTimeoutMs: config.attemptTimeout }, { clock }) : undefined,
  };
}
