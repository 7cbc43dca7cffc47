import type { EndpointConfig } from '../config/endpoints.js';
import { LastKnown, type Known } from '../config/last-known.js';
import { formatAddress } from '../config/units.js';
import type { Logger } from '../telemetry/logger.js';
import type { UpstreamMetrics } from '../telemetry/upstream-metrics.js';
import type { DiscoverySource } from './source.js';

export interface DiscoveryDependencies {
  readonly logger: Logger;
  readonly metrics: UpstreamMetrics;
}

/**
 * The endpoints of one upstream as its source finds them. A source that fails never takes an endpoint away: what was found
 * last stays, with a warning and a metric, since a resolver that is down says nothing about the upstream.
 */
export class Discovery {
  #found: readonly EndpointConfig[];
  #fixed: readonly EndpointConfig[] = [];
  #onChange: ((endpoints: readonly EndpointConfig[]) => void) | undefined;
  #failing: string | undefined;
  #ignored = '';

  /** `known`: what was last found for the same question, by whomever; it begins with that. */
  constructor(
    private readonly upstream: string,
    private readonly source: DiscoverySource,
    private readonly dependencies: DiscoveryDependencies,
    private readonly known: Known<readonly EndpointConfig[]> = new LastKnown().open(upstream),
  ) {
    this.#found = known.value ?? [];
    const { metrics, logger } = dependencies;
    const { kind } = source;
    const about = { upstream, source: kind };
    source.start({
      found: (endpoints) => {
        metrics.discovered(upstream, kind, endpoints.length);
        if (this.#failing !== undefined) logger.info({ ...about, endpoints: endpoints.length }, 'discovery works again');
        this.#failing = undefined;
        this.#take(endpoints);
      },
      failed: ({ result, details }) => {
        metrics.discoveryFailed(upstream, kind, result);
        const problem = `${result} ${details.join()}`;
        // Once for each problem, not once for each time it is met.
        if (problem !== this.#failing) logger.warn({ ...about, result, problems: details, endpoints: this.#found.length }, 'discovery failed; what was found last stays');
        this.#failing = problem;
      },
      ignored: (details) => {
        metrics.recordsIgnored(upstream, kind, details.length);
        // In whatever order they came.
        const ignored = [...details].sort().join();
        if (ignored !== this.#ignored) logger.warn({ ...about, problems: details }, 'discovery found what cannot be used');
        this.#ignored = ignored;
      },
    });
  }

  /** The fixed endpoints, then those that were found and are not among them. */
  endpointsWith(fixed: readonly EndpointConfig[]): readonly EndpointConfig[] {
    const seen = new Set<string>();
    return [...fixed, ...this.#found].filter(({ address }) => {
      const name = formatAddress(address);
      return !seen.has(name) && seen.add(name);
    });
  }

  /** From here on changes go to `onChange`, and to nobody else. What has changed since it was asked goes at once. */
  feed(fixed: readonly EndpointConfig[], onChange: (endpoints: readonly EndpointConfig[]) => void): void {
    this.#fixed = fixed;
    this.#onChange = onChange;
    onChange(this.endpointsWith(fixed));
  }

  close(): void {
    this.#onChange = undefined;
    this.source.close();
    this.known.close();
  }

  #take(endpoints: readonly EndpointConfig[]): void {
    const before = JSON.stringify(this.#found);
    this.#found = endpoints;
    this.known.value = endpoints;
    if (JSON.stringify(endpoints) === before) return;
    this.dependencies.logger.info({ upstream: this.upstream, source: this.source.kind, endpoints: endpoints.map(({ address }) => formatAddress(address)) }, 'discovery: the endpoints have changed');
    this.#onChange?.(this.endpointsWith(this.#fixed));
  }
}
