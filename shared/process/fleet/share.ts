import type { LimitsConfig, UpstreamConfig } from '../../config/sections.js';
import type { Shared } from '../proxy.js';

/**
 * One worker's share of what holds for the proxy as a whole: connections and requests in flight, and connections and
 * waiting requests of each endpoint. Connections go to the workers in turn, so equal shares are used up together.
 */
export function shareOf<T extends Shared>(whole: T, workers: number): T {
  if (workers === 1) return whole;
  const share = (limit: number): number => Math.ceil(limit / workers);
  const bulkheadShare = (limits: NonNullable<UpstreamConfig['limits']>): UpstreamConfig['limits'] =>
    Object.fromEntries(Object.entries(limits).map(([name, limit]: [string, number | undefined]) => [name, limit === undefined ? undefined : share(limit)])) as typeof limits;
  const upstreamShare = (upstream: UpstreamConfig): UpstreamConfig => ({
    ...upstream,
    maxConnections: share(upstream.maxConnections),
    maxPending: share(upstream.maxPending),
    ...(upstream.limits && { limits: bulkheadShare(upstream.limits) }),
  });
  const limitsShare = (limits: LimitsConfig): LimitsConfig => ({ ...limits, maxConnections: share(limits.maxConnections), maxInFlight: share(limits.maxInFlight) });
  return {
    ...whole,
    ...(whole.limits && { limits: limitsShare(whole.limits) }),
    ...(whole.tcp && { tcp: whole.tcp.map((listener) => ({ ...listener, maxConnections: share(listener.maxConnections) })) }),
    upstreams: Object.fromEntries(Object.entries(whole.upstreams).map(([name, upstream]) => [name, upstreamShare(upstream)])),
  };
}
