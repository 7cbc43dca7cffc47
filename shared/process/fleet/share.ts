import type { LimitsConfig, UpstreamConfig } from '../../config/sections.js';
import type { Shared } from '../proxy.js';

/** Which of how many workers, from 0. */
export interface Seat {
  readonly index: number;
  readonly workers: number;
}

/**
 * One worker's share of what holds for the proxy as a whole: connections and requests in flight, and connections and
 * waiting requests of each endpoint. Connections go to the workers in turn, so equal shares are used up together. What cannot be
 * divided goes to the first workers. None has a share of nothing, which would turn away everything that is its turn: limits smaller
 * than the number of workers come to that number.
 */
export function shareOf<T extends Shared>(whole: T, { index, workers }: Seat): T {
  if (workers === 1) return whole;
  return mapLimits(whole, (limit) => (limit === 0 ? 0 : Math.max(1, Math.floor(limit / workers) + (index < limit % workers ? 1 : 0))));
}

/** Limits that are smaller than the number of workers, by their paths. */
export function smallLimits(whole: Shared, workers: number): string[] {
  const small: string[] = [];
  mapLimits(whole, (limit, path) => {
    if (limit > 0 && limit < workers) small.push(path);
    return limit;
  });
  return small;
}

type MapLimit = (limit: number, path: string) => number;

function mapLimits<T extends Shared>(whole: T, map: MapLimit): T {
  const limitsOf = (limits: LimitsConfig): LimitsConfig => ({
    ...limits,
    maxConnections: map(limits.maxConnections, 'limits.maxConnections'),
    maxInFlight: map(limits.maxInFlight, 'limits.maxInFlight'),
  });
  return {
    ...whole,
    ...(whole.limits && { limits: limitsOf(whole.limits) }),
    ...(whole.tcp && { tcp: whole.tcp.map((listener, index) => ({ ...listener, maxConnections: map(listener.maxConnections, `tcp[${index}].maxConnections`) })) }),
    upstreams: Object.fromEntries(Object.entries(whole.upstreams).map(([name, upstream]) => [name, mapUpstream(upstream, `upstreams.${name}`, map)])),
  };
}

function mapUpstream(upstream: UpstreamConfig, path: string, map: MapLimit): UpstreamConfig {
  const { limits } = upstream;
  return {
    ...upstream,
    maxConnections: map(upstream.maxConnections, `${path}.maxConnections`),
    maxPending: map(upstream.maxPending, `${path}.maxPending`),
    ...(limits && { limits: mapBulkhead(limits, `${path}.limits`, map) }),
  };
}

function mapBulkhead(limits: NonNullable<UpstreamConfig['limits']>, path: string, map: MapLimit): NonNullable<UpstreamConfig['limits']> {
  const present = Object.entries(limits).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return { ...limits, ...Object.fromEntries(present.map(([name, limit]) => [name, map(limit, `${path}.${name}`)])) };
}
