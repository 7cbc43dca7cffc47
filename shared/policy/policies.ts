import type { Clock } from '../clock/clock.js';
import type { Generation } from '../config/generation.js';
import type { JwtConfig, RateLimitConfig, RetryConfig } from '../config/policies.js';
import type { UpstreamConfig } from '../config/sections.js';
import { grpc } from '../grpc/grpc.js';
import type { Layer } from '../http/service.js';
import type { Logger } from '../telemetry/logger.js';
import type { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { jwt } from './jwt/jwt.js';
import { rateLimit, type QuotaCounter } from './rate-limit/rate-limit.js';
import { retry } from './retry/retry.js';

export interface PoliciesDependencies {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: ProxyMetrics;
  /** Where quotas are counted; default: in this process. */
  readonly counter?: QuotaCounter | undefined;
}

/** Makes the policies of a stack, or takes them over with their state, and connects what they report to log and metrics. */
export class Policies {
  constructor(private readonly dependencies: PoliciesDependencies) {}

  /** Equal configurations share one: keys are fetched once, tokens verified once. */
  async jwt(generation: Generation, config: JwtConfig): Promise<Layer> {
    const { clock, logger, metrics } = this.dependencies;
    const part = await generation.keep(`jwt ${JSON.stringify(config)}`, () =>
      jwt(config, {
        clock,
        onEvent: (event) => {
          metrics.keySetEvent(event.kind);
          if (event.kind !== 'fetched') logger.warn({ issuer: config.issuer, err: event.error }, event.kind === 'stale' ? 'keys could not be refreshed; the last ones go on serving' : 'keys could not be fetched');
        },
      }),
    );
    return part.layer;
  }

  /** `scope` names what the quota belongs to: two scopes never share a counter. */
  async rateLimit(generation: Generation, scope: string, config: RateLimitConfig): Promise<Layer> {
    const { logger, metrics, counter } = this.dependencies;
    const key = `rateLimit ${scope} ${JSON.stringify(config)}`;
    const part = await generation.keep(key, () =>
      rateLimit(config, {
        counter: counter && { scope: key, counter },
        onEvent: (event) => {
          metrics.rateLimitEvent(scope, event, config.failOpen);
          if (event === 'store_failed') logger.warn({ scope, failOpen: config.failOpen }, 'the quota could not be checked');
        },
      }),
    );
    return part.layer;
  }

  /** Where calls of gRPC may come by: an upstream of HTTP/1.1 alone knows none. */
  grpc({ protocol }: Pick<UpstreamConfig, 'protocol'>, maxTimeoutMs: number | undefined): Layer | undefined {
    const { clock, metrics } = this.dependencies;
    return protocol === 'h1' ? undefined : grpc({ clock, maxTimeoutMs, onStatus: (exchange, status) => metrics.grpcCall(exchange, status) });
  }

  /** `scope` names what the budget belongs to. */
  async retry(generation: Generation, scope: string, upstream: string, config: RetryConfig): Promise<Layer> {
    const { clock, random, metrics } = this.dependencies;
    const part = await generation.keep(`retry ${scope} ${JSON.stringify(config)}`, () => ({
      layer: retry(config, { clock, random, onEvent: (event) => metrics.retryEvent(upstream, event) }),
    }));
    return part.layer;
  }
}
