import type { Clock } from '../../clock/clock.js';
import type { UpstreamConfig } from '../../config/sections.js';
import type { Layer } from '../../http/service.js';
import type { Logger } from '../../telemetry/logger.js';
import type { UpstreamMetrics } from '../../telemetry/upstream-metrics.js';
import { Bulkhead } from '../bulkhead.js';
import type { Endpoint } from '../endpoint.js';
import { HealthCheck } from './health-check.js';
import { OutlierDetection, type OutlierEvent } from './outlier-detection.js';
import { probeOf } from './probe.js';

export interface UpstreamWatchDependencies {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: UpstreamMetrics;
  /** Whether health checks have been ended for good, since the proxy is draining. */
  readonly areChecksEnded: () => boolean;
}

/** What guards one endpoint: layers, and what ends with it. */
interface EndpointWatch {
  readonly bulkhead: Layer | undefined;
  /** In front of what takes a connection of its own. */
  readonly streamBulkhead: Layer | undefined;
  readonly outlierDetection: Layer | undefined;
  /** Told of an answer that the endpoint broke off. */
  brokeOff(): void;
  close(): void;
}

/**
 * What is known of the endpoints of one upstream together: its limits, who fails more than the others, and the health
 * checks of each. It lives as long as the upstream's settings; endpoints come and go.
 */
export class UpstreamWatch {
  readonly bulkhead: Bulkhead | undefined;
  readonly outliers: OutlierDetection | undefined;
  readonly #checks = new Set<HealthCheck>();

  constructor(
    readonly upstream: string,
    key: string,
    private readonly config: UpstreamConfig,
    private readonly dependencies: UpstreamWatchDependencies,
  ) {
    const { limits, outlierDetection, protocol } = config;
    const { clock, metrics } = dependencies;
    this.bulkhead = limits && new Bulkhead(key, limits, (limit) => metrics.limitRefusal(upstream, limit));
    this.outliers = outlierDetection && new OutlierDetection(outlierDetection, { clock, isGrpc: protocol !== 'h1', onEvent: (event) => this.#report(event) });
  }

  watch(endpoint: Endpoint): EndpointWatch {
    const bulkhead = this.bulkhead?.guard(endpoint.pool, endpoint.streams);
    const outlier = this.outliers?.watch(endpoint.name, endpoint.health);
    const check = this.#startChecks(endpoint);
    return {
      bulkhead: bulkhead?.layer,
      streamBulkhead: bulkhead?.streamLayer,
      outlierDetection: outlier?.layer,
      brokeOff: () => outlier?.brokeOff(),
      close: () => {
        bulkhead?.close();
        outlier?.close();
        check?.close();
        if (check !== undefined) this.#checks.delete(check);
      },
    };
  }

  endChecks(): void {
    for (const check of this.#checks) check.close();
  }

  close(): void {
    this.endChecks();
    this.outliers?.close();
  }

  #startChecks(endpoint: Endpoint): HealthCheck | undefined {
    const { healthCheck } = this.config;
    const { clock, random, logger, metrics } = this.dependencies;
    if (healthCheck === undefined || this.dependencies.areChecksEnded()) return undefined;
    const about = { upstream: this.upstream, endpoint: endpoint.name };
    const check = new HealthCheck(healthCheck, endpoint.health, {
      clock,
      random,
      probe: probeOf(healthCheck, endpoint.address, endpoint.credentials, this.config.protocol),
      onResult: (failure) => metrics.healthCheck(this.upstream, endpoint.name, failure?.kind ?? 'passed'),
      onChange: (isHealthy, failure) => {
        // What it took to fail says nothing about how fast it is now.
        if (isHealthy) endpoint.latency.reset();
        if (isHealthy) logger.info(about, 'health checks pass: the endpoint is used again');
        else logger.warn({ ...about, reason: failure?.detail }, 'health checks fail: the endpoint is left out');
      },
    });
    this.#checks.add(check);
    check.start();
    return check;
  }

  #report(event: OutlierEvent): void {
    const { logger, metrics } = this.dependencies;
    const { upstream } = this;
    const { kind, endpoint } = event;
    if (kind === 'returned') {
      logger.info({ upstream, endpoint }, 'outlier: the endpoint is used again');
      return;
    }
    const { reason, forMs } = event;
    if (kind === 'ejected') {
      metrics.ejection(upstream, endpoint, reason);
      logger.warn({ upstream, endpoint, reason, forMs }, 'outlier: the endpoint is ejected');
    } else {
      metrics.ejectionRefused(upstream, reason);
      logger.warn({ upstream, endpoint, reason }, 'outlier: as many endpoints are out as may be; this one stays');
    }
  }
}
