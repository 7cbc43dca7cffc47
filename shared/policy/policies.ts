import type { Clock } from '../clock/clock.js';
import { onceAMinute } from '../clock/once-a-minute.js';
import type { Generation } from '../config/generation.js';
import type { LastKnown } from '../config/last-known.js';
import type { AuthorizationConfig } from '../config/authorization.js';
import type { JwtConfig, RateLimitConfig, RetryConfig } from '../config/policies.js';
import type { AdaptiveConcurrencyConfig, HedgeConfig, RetryBudgetConfig } from '../config/resilience.js';
import type { FaultConfig, MirrorConfig } from '../config/shaping.js';
import type { UpstreamConfig } from '../config/sections.js';
import { outcomeMatcher } from '../errors/retry-conditions.js';
import { grpc } from '../grpc/grpc.js';
import type { Layer, Service } from '../http/service.js';
import type { Logger } from '../telemetry/logger.js';
import type { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { AuthorizationMetrics } from '../telemetry/authorization-metrics.js';
import { ResilienceMetrics } from '../telemetry/resilience-metrics.js';
import type { PemStore } from '../tls/pem-store.js';
import { adaptiveConcurrency } from './adaptive-concurrency/adaptive-concurrency.js';
import { AdaptiveLimit } from './adaptive-concurrency/adaptive-limit.js';
import { authorization } from './authorization/authorization.js';
import { fault } from './fault/fault.js';
import { hedge, HedgeDelay, type HedgeDependencies } from './hedge/hedge.js';
import { jwt } from './jwt/jwt.js';
import { mirror } from './mirror/mirror.js';
import { Limiter } from './rate-limit/limiter.js';
import { rateLimit, type QuotaCounter } from './rate-limit/rate-limit.js';
import { RetryBudget } from './retry/retry-budget.js';
import { retry, type RetryPlaces } from './retry/retry.js';
import type { Scope } from './scope.js';

interface PoliciesDependencies {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: ProxyMetrics;
  readonly pems: PemStore;
  /** Where quotas are counted; default: in this process. */
  readonly counter?: QuotaCounter | undefined;
  readonly lastKnown?: LastKnown | undefined;
}

/** Makes the policies of a stack, or takes them over with their state, and connects what they report to log and metrics. */
export class Policies {
  readonly #resilience: ResilienceMetrics;
  readonly #authorization: AuthorizationMetrics;
  readonly #limiter = new Limiter();

  constructor(private readonly dependencies: PoliciesDependencies) {
    this.#resilience = new ResilienceMetrics(dependencies.metrics.registry);
    this.#authorization = new AuthorizationMetrics(dependencies.metrics.registry);
  }

  /** Equal configurations share one: keys are fetched once, tokens verified once. */
  async jwt(generation: Generation, config: JwtConfig): Promise<Layer> {
    const { clock, logger, metrics, pems, lastKnown } = this.dependencies;
    const part = await generation.keep(`jwt ${JSON.stringify(config)}`, () =>
      jwt(config, {
        clock,
        files: pems,
        lastKnown,
        onEvent: (event) => {
          metrics.keySetEvent(event.kind);
          if (event.kind !== 'fetched') logger.warn({ issuer: config.issuer, err: event.error }, event.kind === 'stale' ? 'keys could not be refreshed; the last ones go on serving' : 'keys could not be fetched');
          else if (typeof config.jwks === 'string') logger.info({ issuer: config.issuer, file: config.jwks }, 'keys were read again');
        },
      }),
    );
    return part.layer;
  }

  /** `scope` names what is guarded, in the metrics. */
  async authorization(generation: Generation, scope: string, config: AuthorizationConfig): Promise<Layer> {
    const part = await generation.keep(`authorization ${scope} ${JSON.stringify(config)}`, () => {
      const { tally, close } = this.#authorization.scope(scope);
      return { layer: authorization(config, { tally }), close };
    });
    return part.layer;
  }

  /** The same for a TCP listener, which stays as long as the process. */
  streamAuthorization(listener: string, config: AuthorizationConfig): Layer {
    return authorization(config, this.#authorization.scope(`tcp ${listener}`));
  }

  /** `scope` is what the quota belongs to: two scopes never share a counter. */
  async rateLimit(generation: Generation, scope: Scope, config: RateLimitConfig): Promise<Layer> {
    const { clock, logger, metrics, counter } = this.dependencies;
    const key = `rateLimit ${scope.key} ${JSON.stringify(config)}`;
    const part = await generation.keep(key, () => {
      const mayTell = onceAMinute(clock);
      return rateLimit(config, {
        clock,
        limiter: this.#limiter,
        counter: counter && { scope: key, counter },
        onEvent: (event) => {
          metrics.rateLimitEvent(scope.name, event, config.failOpen);
          if (event === 'store_failed' && mayTell()) logger.warn({ scope: scope.name, failOpen: config.failOpen }, 'the quota could not be checked');
        },
      });
    });
    return part.layer;
  }

  /** Where calls of gRPC may come by: an upstream of HTTP/1.1 alone knows none. */
  grpc({ protocol }: Pick<UpstreamConfig, 'protocol'>, maxTimeoutMs: number | undefined): Layer | undefined {
    const { clock, metrics } = this.dependencies;
    return protocol === 'h1' ? undefined : grpc({ clock, maxTimeoutMs, onStatus: (exchange, status) => metrics.grpcCall(exchange, status) });
  }

  /** What the retries and hedges of one scope may add to its load. */
  retryBudget(generation: Generation, scope: Scope, config: RetryBudgetConfig): Promise<RetryBudget> {
    return generation.keep(`retryBudget ${scope.key} ${JSON.stringify(config)}`, () => new RetryBudget(config, this.dependencies.clock));
  }

  /** `places` caps retries at a time, beside the budget. */
  retry(upstream: string, config: RetryConfig, budget: RetryBudget, places?: RetryPlaces): Layer {
    const { clock, random, metrics } = this.dependencies;
    return retry(config, { clock, random, budget, places, onEvent: (event) => metrics.retryEvent(upstream, event) });
  }

  /** `scope` is that whose latency is watched. */
  async hedge(generation: Generation, scope: Scope, upstream: string, config: HedgeConfig, { failures, ...rest }: HedgeParts): Promise<Layer> {
    const delay = await generation.keep(`hedge ${scope.key} ${JSON.stringify(config)}`, () => new HedgeDelay(config));
    return hedge(config, delay, { ...rest, clock: this.dependencies.clock, isFailure: outcomeMatcher(failures), onEvent: (event) => this.#resilience.hedge(upstream, event) });
  }

  /** `scope` is what the limit belongs to. */
  async adaptiveConcurrency(generation: Generation, scope: Scope, config: AdaptiveConcurrencyConfig): Promise<Layer> {
    const { clock, random } = this.dependencies;
    const { limit } = await generation.keep(`adaptiveConcurrency ${scope.key} ${JSON.stringify(config)}`, () => {
      const limit = new AdaptiveLimit(config, random, clock.now());
      return { limit, close: this.#resilience.watch(scope, limit) };
    });
    return adaptiveConcurrency(config, { clock, limit, onShed: (priority) => this.#resilience.shed(scope.name, priority) });
  }

  /** Holds no state that the next version of a configuration would miss: those that are held are let go in their time. */
  fault(config: FaultConfig): Layer {
    const { clock, random, metrics } = this.dependencies;
    return fault(config, { clock, random, onEvent: (event) => metrics.faultEvent(event) });
  }

  /** `shadow` sends to the upstream that gets the copies. */
  mirror(config: MirrorConfig, shadow: Service): Layer {
    const { clock, random, metrics } = this.dependencies;
    return mirror(config, shadow, { clock, random, onOutcome: (outcome, attempts) => metrics.mirrorOutcome(config.upstream, outcome, attempts) });
  }
}

interface HedgeParts extends Pick<HedgeDependencies, 'budget' | 'deposits' | 'hasAnother'> {
  readonly failures: RetryConfig['on'];
}
