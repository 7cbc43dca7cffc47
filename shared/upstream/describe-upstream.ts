import type { UnhealthyReason } from './endpoint-health.js';
import type { Upstream } from './upstream.js';

/** What the admin server shows of an upstream. */
export interface UpstreamDescription {
  readonly name: string;
  readonly algorithm: string;
  /** Whether health is ignored, for want of healthy endpoints. */
  readonly panic: boolean;
  /** The lowest priority that gets traffic; null when nothing does. */
  readonly priority: number | null;
  /** How traffic is divided between priorities and zones, nearest first. */
  readonly groups: readonly {
    readonly priority: number;
    /** `own`: the proxy's zone; `other`: all others; null where zones do not matter. */
    readonly zone: 'own' | 'other' | null;
    readonly healthy: number;
    readonly endpoints: number;
    readonly loadPercent: number;
    readonly panic: boolean;
  }[];
  readonly endpoints: readonly {
    readonly address: string;
    readonly healthy: boolean;
    /** Who objects to it, beside its breaker. */
    readonly unhealthyReasons: readonly UnhealthyReason[];
    readonly breaker: 'closed' | 'open' | 'half-open';
    readonly weight: number;
    /** Less than its weight while it warms up. */
    readonly effectiveWeight: number;
    readonly zone: string | null;
    readonly priority: number;
    readonly labels: Readonly<Record<string, string>>;
    readonly inFlight: number;
    readonly pending: number;
    readonly connections: number;
    /** Its average, of which later answers count more (ms); null while nothing is known of it. */
    readonly latencyMs: number | null;
  }[];
}

/** Describes an upstream as it is at a clock reading. */
export function describeUpstream(upstream: Upstream, now: number): UpstreamDescription {
  const groups = upstream.groups();
  return {
    name: upstream.name,
    algorithm: upstream.config.balance.algorithm,
    panic: upstream.isPanic(),
    priority: groups.find(({ load }) => load > 0)?.priority ?? null,
    groups: groups.map(({ priority, isOwnZone, healthy, total, load, isPanic }) => ({
      priority,
      zone: isOwnZone === undefined ? null : isOwnZone ? 'own' : 'other',
      healthy,
      endpoints: total,
      loadPercent: hundredths(load * 100),
      panic: isPanic,
    })),
    endpoints: upstream.members.map(({ endpoint, config, weight }) => ({
      address: endpoint.name,
      healthy: endpoint.health.isHealthy && endpoint.gate.accepts(),
      unhealthyReasons: endpoint.health.reasons,
      breaker: endpoint.gate.state(),
      weight: config.weight,
      effectiveWeight: hundredths(weight),
      zone: config.zone ?? null,
      priority: config.priority,
      labels: config.labels,
      inFlight: endpoint.active,
      pending: endpoint.pending,
      connections: endpoint.connections,
      latencyMs: endpoint.latency.isKnown ? hundredths(endpoint.latency.at(now)) : null,
    })),
  };
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}
