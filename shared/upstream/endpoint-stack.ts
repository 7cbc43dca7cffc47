import type { Clock } from '../clock/clock.js';
import type { UpstreamConfig } from '../config/sections.js';
import { grpcTimeLeft } from '../grpc/grpc.js';
import { isServerFault } from '../grpc/status.js';
import { stack, type Layer, type Service } from '../http/service.js';
import { attemptTimeout } from '../policy/attempt-timeout/attempt-timeout.js';
import { breaker } from '../policy/breaker/breaker.js';
import type { Endpoint } from './endpoint.js';
import type { UpstreamWatches } from './health/upstream-watches.js';

interface EndpointStackDependencies {
  readonly clock: Clock;
  readonly onTransition: (upstream: string, endpoint: string, state: 'closed' | 'open' | 'half-open') => void;
  readonly watches: UpstreamWatches;
  /** Told of each endpoint that has something to count; what it returns runs when the endpoint is closed, and counts no more. */
  readonly count: (upstream: string, endpoint: string) => () => void;
}

/** Puts in front of an endpoint's connection what an attempt passes, in this order, in both proxies. */
export function guardEndpoint(endpoint: Endpoint, upstream: string, config: UpstreamConfig, { clock, onTransition, watches, count }: EndpointStackDependencies): void {
  const watch = watches.get(upstream, config)?.watch(endpoint);
  const gate =
    config.breaker &&
    breaker(config.breaker, {
      clock,
      name: `${upstream}/${endpoint.name}`,
      ...(config.protocol !== 'h1' && { isFailure: isServerFault }),
      onTransition: (state) => {
        // What it took to fail says nothing about how fast it is now.
        if (state === 'closed') endpoint.latency.reset();
        endpoint.changed();
        onTransition(upstream, endpoint.name, state);
      },
    });
  const guarded = (connection: Service, bulkhead: Layer | undefined): Service =>
    stack(
      [
        bulkhead, // before the breaker: what the upstream as a whole has no room for must not use up the endpoint's probe
        gate?.layer, // sees each attempt too; what it refuses was none
        watch?.outlierDetection, // sees each attempt, and one that timed out is a failed one
        config.attemptTimeout === undefined ? undefined : attemptTimeout(config.attemptTimeout, { clock }), // times the connection alone
        config.protocol === 'h1' ? undefined : grpcTimeLeft({ clock }), // innermost: what was waited before is not left any more
      ],
      connection,
    );
  endpoint.service = guarded(endpoint.connect, watch?.bulkhead);
  endpoint.stream = guarded(endpoint.openStream, watch?.streamBulkhead);
  if (gate !== undefined) endpoint.gate = gate;
  if (gate === undefined && watch === undefined) return;
  endpoint.pool.onBrokenOff = (exchange) => {
    gate?.brokeOff(exchange);
    watch?.brokeOff();
  };
  const uncount = count(upstream, endpoint.name);
  endpoint.onClose = () => {
    gate?.close();
    watch?.close();
    uncount();
  };
}
