import type { UpstreamDescription } from '../../upstream/upstream-set.js';

type Endpoint = UpstreamDescription['endpoints'][number];

const breakerOrder = ['closed', 'half-open', 'open'] as const;

/**
 * What several workers say of their upstreams, as one: requests and connections add up, latency is the mean, and an
 * endpoint is as well as the worker that sees it worst. Each worker has breakers and connections of its own.
 */
export function mergeUpstreams(all: readonly UpstreamDescription[][]): UpstreamDescription[] {
  const [first = []] = all;
  return first.map((upstream) => {
    const same = all.flatMap((one) => one.filter(({ name }) => name === upstream.name));
    return { ...upstream, endpoints: upstream.endpoints.map(({ address }) => mergeEndpoint(same.flatMap(({ endpoints }) => endpoints.filter((endpoint) => endpoint.address === address)))) };
  });
}

function mergeEndpoint(views: readonly Endpoint[]): Endpoint {
  const sum = (of: (view: Endpoint) => number): number => views.reduce((total, view) => total + of(view), 0);
  return {
    address: views[0]!.address,
    healthy: views.every(({ healthy }) => healthy),
    breaker: breakerOrder[Math.max(...views.map(({ breaker }) => breakerOrder.indexOf(breaker)))]!,
    inFlight: sum(({ inFlight }) => inFlight),
    pending: sum(({ pending }) => pending),
    connections: sum(({ connections }) => connections),
    latencyMs: Math.round((sum(({ latencyMs }) => latencyMs) / views.length) * 100) / 100,
  };
}
