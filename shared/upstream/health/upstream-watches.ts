import { pauses } from '../../clock/long-work.js';
import type { Generation } from '../../config/generation.js';
import type { UpstreamConfig } from '../../config/sections.js';
import { UpstreamMetrics, type UpstreamReadings } from '../../telemetry/upstream-metrics.js';
import type { Registry } from 'prom-client';
import { UpstreamWatch, type UpstreamWatchDependencies } from './upstream-watch.js';

/** The watches of a process, by upstream and its settings: an upstream whose settings change is watched anew, as its endpoints are new ones. */
export class UpstreamWatches {
  readonly metrics: UpstreamMetrics;
  readonly #watches = new Map<string, UpstreamWatch>();
  readonly #dependencies: UpstreamWatchDependencies;
  #areChecksEnded = false;

  constructor(registry: Registry, dependencies: Omit<UpstreamWatchDependencies, 'metrics' | 'areChecksEnded'>) {
    this.metrics = new UpstreamMetrics(registry, () => this.#read());
    this.#dependencies = { ...dependencies, metrics: this.metrics, areChecksEnded: () => this.#areChecksEnded };
  }

  /** Keeps the watches of these upstreams for as long as the generation has them; before their endpoints are made. */
  async open(configs: Readonly<Record<string, UpstreamConfig>>, generation: Generation): Promise<void> {
    const pause = pauses();
    for (const [name, config] of Object.entries(configs)) {
      if (!isWatched(config)) continue;
      await pause();
      const key = keyOf(name, config);
      await generation.keep(`watch ${key}`, () => {
        const watch = new UpstreamWatch(name, key, config, this.#dependencies);
        this.#watches.set(key, watch);
        return {
          close: () => {
            watch.close();
            if (this.#watches.get(key) === watch) this.#watches.delete(key);
          },
        };
      });
    }
  }

  /** Undefined for an upstream that asks for nothing of this. */
  get(upstream: string, config: UpstreamConfig): UpstreamWatch | undefined {
    return isWatched(config) ? this.#watches.get(keyOf(upstream, config)) : undefined;
  }

  /** From here on no endpoint is checked any more: the proxy is draining. */
  endChecks(): void {
    this.#areChecksEnded = true;
    for (const watch of this.#watches.values()) watch.endChecks();
  }

  *#read(): Iterable<UpstreamReadings> {
    for (const { upstream, bulkhead, outliers } of this.#watches.values()) yield { upstream, ejected: outliers?.ejected, limits: bulkhead };
  }
}

function isWatched({ limits, outlierDetection, healthCheck }: UpstreamConfig): boolean {
  return limits !== undefined || outlierDetection !== undefined || healthCheck !== undefined;
}

/** What an upstream takes over its endpoints by. */
function keyOf(name: string, config: UpstreamConfig): string {
  return `${name} ${JSON.stringify({ ...config, endpoints: undefined, balance: undefined })}`;
}
