import { AggregatorRegistry, type MetricObject, type MetricObjectWithValues, type MetricValue } from 'prom-client';
import { atOnce, type Steps } from '../../clock/long-work.js';
import { addUpPacked, isPacked } from '../../telemetry/packed-histogram.js';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';

type Endpoint = UpstreamDescription['endpoints'][number];
type Group = UpstreamDescription['groups'][number];

const breakerOrder = ['closed', 'half-open', 'open'] as const;

/**
 * What several workers say of their upstreams, as one: requests and connections add up, latency is the mean of those that know it, and an
 * endpoint is as well as the worker that sees it worst. Each worker has breakers and connections of its own.
 */
export function mergeUpstreams(all: readonly UpstreamDescription[][]): UpstreamDescription[] {
  const [first = []] = all;
  return first.map((upstream) => {
    const same = all.flatMap((one) => one.filter(({ name }) => name === upstream.name));
    const priorities = same.flatMap(({ priority }) => priority ?? []);
    return {
      ...upstream,
      panic: same.some(({ panic }) => panic),
      priority: priorities.length === 0 ? null : Math.min(...priorities),
      groups: upstream.groups.map(({ priority, zone }) => mergeGroup(same.flatMap(({ groups }) => groups.filter((group) => group.priority === priority && group.zone === zone)))),
      endpoints: upstream.endpoints.map(({ address }) => mergeEndpoint(same.flatMap(({ endpoints }) => endpoints.filter((endpoint) => endpoint.address === address)))),
    };
  });
}

function mergeGroup(views: readonly Group[]): Group {
  return {
    ...views[0]!,
    healthy: Math.min(...views.map(({ healthy }) => healthy)),
    loadPercent: mean(views.map(({ loadPercent }) => loadPercent)),
    panic: views.some(({ panic }) => panic),
  };
}

function mergeEndpoint(views: readonly Endpoint[]): Endpoint {
  const latencies = views.flatMap(({ latencyMs }) => latencyMs ?? []);
  const sum = (of: (view: Endpoint) => number): number => views.reduce((total, view) => total + of(view), 0);
  return {
    // Weight, zone, priority and labels come from the configuration that all of them share.
    ...views[0]!,
    healthy: views.every(({ healthy }) => healthy),
    unhealthyReasons: [...new Set(views.flatMap(({ unhealthyReasons }) => unhealthyReasons))],
    breaker: breakerOrder[Math.max(...views.map(({ breaker }) => breakerOrder.indexOf(breaker)))]!,
    effectiveWeight: mean(views.map(({ effectiveWeight }) => effectiveWeight)),
    inFlight: sum(({ inFlight }) => inFlight),
    pending: sum(({ pending }) => pending),
    connections: sum(({ connections }) => connections),
    latencyMs: latencies.length === 0 ? null : mean(latencies),
  };
}

function mean(values: readonly number[]): number {
  return Math.round((values.reduce((sum, value) => sum + value, 0) / values.length) * 100) / 100;
}

/** What several processes say of their metrics, as one. */
export function* addUp(all: readonly (readonly MetricObject[])[]): Steps<MetricObject[]> {
  const byName = new Map<string, MetricObject[]>();
  for (const metric of all.flat()) {
    const same = byName.get(metric.name);
    if (same === undefined) byName.set(metric.name, [metric]);
    else same.push(metric);
  }
  const added: MetricObject[] = [];
  for (const same of byName.values()) {
    added.push(...(same.every(isPacked) ? [yield* addUpPacked(same)] : aggregate(same)));
    yield;
  }
  return added;
}

/** None where it is one that is not added up. */
function aggregate(same: readonly MetricObject[]): MetricObject[] {
  // What an aggregate is made of is known already.
  const metrics = AggregatorRegistry.aggregate(same.map((metric) => [metric])).getMetricsAsArray() as unknown as { get(): MetricObject }[];
  return metrics.map((metric) => metric.get());
}

/** Counters and histograms, added up at once. */
export function totals(all: readonly MetricObject[][]): MetricObject[] {
  return atOnce(addUp(all)).filter(({ type }) => String(type) === 'counter' || String(type) === 'histogram');
}

/** Without what describes the configuration, discovery or health: what is left adds up. */
export function sums(metrics: readonly MetricObject[]): MetricObject[] {
  return metrics.filter(({ aggregator }) => aggregator === 'sum');
}

/** Without what is labelled with an endpoint that is none of `endpoints` (see `Collected`). */
export function withoutOtherEndpoints(metrics: readonly MetricObject[], endpoints: ReadonlySet<string>): MetricObject[] {
  const isKept = ({ labels: { upstream, endpoint } }: MetricValue<string>): boolean => endpoint === undefined || endpoints.has(JSON.stringify([upstream, endpoint]));
  // Histograms of durations, which are packed, have no such label.
  return metrics.map((metric) => (isPacked(metric) ? metric : { ...metric, values: (metric as MetricObjectWithValues<MetricValue<string>>).values.filter(isKept) }));
}
