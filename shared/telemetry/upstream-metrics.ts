import { Counter, Gauge, type Aggregator, type Registry } from 'prom-client';
import { discoveryFailures } from '../discovery/source.js';
import type { BulkheadLimit } from '../upstream/bulkhead.js';
import type { EjectionReason } from '../upstream/health/outlier-detection.js';
import type { ProbeFailure } from '../upstream/health/probe.js';

/** What is read when the metrics are collected, so that nothing is written on the hot path. */
export interface UpstreamReadings {
  readonly upstream: string;
  /** Endpoints that outlier detection holds out; undefined without it. */
  readonly ejected: number | undefined;
  readonly limits: { readonly requests: number; readonly connections: number; readonly pending: number; readonly retries: number } | undefined;
}

/** What is counted of health checks, outlier detection, limits and discovery. */
export class UpstreamMetrics {
  readonly #ejections: Counter;
  readonly #refusedEjections: Counter;
  readonly #checks: Counter;
  readonly #refusals: Counter;
  readonly #refreshes: Counter;
  readonly #discovered: Gauge;
  readonly #ignored: Counter;

  constructor(
    registry: Registry,
    private readonly read: () => Iterable<UpstreamReadings>,
  ) {
    const registers = [registry];
    this.#ejections = new Counter({ name: 'proxy_outlier_ejections_total', help: 'Endpoints that outlier detection took out, by what for.', labelNames: ['upstream', 'endpoint', 'reason'], registers });
    this.#refusedEjections = new Counter({ name: 'proxy_outlier_ejections_refused_total', help: 'Endpoints that would have been taken out, were not as many out as may be.', labelNames: ['upstream', 'reason'], registers });
    this.#checks = new Counter({ name: 'proxy_health_checks_total', help: 'Health checks, by result.', labelNames: ['upstream', 'endpoint', 'result'], registers });
    this.#refusals = new Counter({ name: 'proxy_upstream_limit_refusals_total', help: 'What the limits of an upstream refused, by limit.', labelNames: ['upstream', 'limit'], registers });
    this.#refreshes = new Counter({ name: 'proxy_discovery_refreshes_total', help: 'Look-ups of endpoints, by result.', labelNames: ['upstream', 'source', 'result'], registers });
    this.#discovered = new Gauge({ name: 'proxy_discovery_endpoints', help: 'Endpoints that discovery found last.', labelNames: ['upstream', 'source'], aggregator: 'max', registers });
    this.#ignored = new Counter({ name: 'proxy_discovery_ignored_records_total', help: 'Records of discovery that could not be used.', labelNames: ['upstream', 'source'], registers });
    this.#exposeReadings(registers);
  }

  ejection(upstream: string, endpoint: string, reason: EjectionReason): void {
    this.#ejections.inc({ upstream, endpoint, reason });
  }

  ejectionRefused(upstream: string, reason: EjectionReason): void {
    this.#refusedEjections.inc({ upstream, reason });
  }

  healthCheck(upstream: string, endpoint: string, result: 'passed' | ProbeFailure['kind']): void {
    this.#checks.inc({ upstream, endpoint, result });
  }

  limitRefusal(upstream: string, limit: BulkheadLimit): void {
    this.#refusals.inc({ upstream, limit });
  }

  discovered(upstream: string, source: string, endpoints: number): void {
    this.#refreshes.inc({ upstream, source, result: 'found' });
    this.#discovered.set({ upstream, source }, endpoints);
  }

  discoveryFailed(upstream: string, source: string, result: string): void {
    this.#refreshes.inc({ upstream, source, result });
  }

  recordsIgnored(upstream: string, source: string, count: number): void {
    this.#ignored.inc({ upstream, source }, count);
  }

  forgetDiscovery(upstream: string, source: string): void {
    this.#discovered.remove({ upstream, source });
    this.#ignored.remove({ upstream, source });
    for (const result of ['found', ...discoveryFailures]) this.#refreshes.remove({ upstream, source, result });
  }

  /** What is labelled with an endpoint goes with it. */
  forgetEndpoint(upstream: string, endpoint: string): void {
    for (const result of ['passed', 'connect', 'status', 'protocol', 'timeout', 'resources'] satisfies ('passed' | ProbeFailure['kind'])[]) this.#checks.remove({ upstream, endpoint, result });
    for (const reason of ['consecutive_5xx', 'consecutive_gateway_errors', 'consecutive_errors', 'success_rate']) this.#ejections.remove({ upstream, endpoint, reason });
  }

  #exposeReadings(registers: Registry[]): void {
    const { read } = this;
    const gauge = (name: string, help: string, of: (readings: UpstreamReadings) => number | undefined, aggregator: Aggregator = 'sum'): Gauge =>
      new Gauge({
        name, help, labelNames: ['upstream'], aggregator, registers,
        collect() {
          this.reset();
          for (const readings of read()) {
            const value = of(readings);
            if (value !== undefined) this.inc({ upstream: readings.upstream }, value);
          }
        },
      });
    gauge('proxy_outlier_ejected_endpoints', 'Endpoints that outlier detection holds out; of several workers, by the one that holds out most.', ({ ejected }) => ejected, 'max');
    gauge('proxy_upstream_limited_requests', 'Requests in progress at an upstream with limits.', ({ limits }) => limits?.requests);
    gauge('proxy_upstream_limited_connections', 'Connections of an upstream with limits.', ({ limits }) => limits?.connections);
    gauge('proxy_upstream_limited_pending', 'Requests that wait for a connection of an upstream with limits.', ({ limits }) => limits?.pending);
    gauge('proxy_upstream_limited_retries', 'Retries in progress at an upstream with limits.', ({ limits }) => limits?.retries);
  }
}
