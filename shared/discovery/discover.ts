import type { Clock } from '../clock/clock.js';
import { pauses } from '../clock/long-work.js';
import type { DiscoveryConfig } from '../config/discovery.js';
import type { Generation } from '../config/generation.js';
import type { LastKnown } from '../config/last-known.js';
import type { UpstreamConfig } from '../config/sections.js';
import type { UpstreamSet } from '../upstream/upstream-set.js';
import { Discovery, type DiscoveryDependencies } from './discovery.js';
import { DnsSource } from './dns-source.js';
import { FileSource } from './file-source.js';
import type { DiscoverySource } from './source.js';

export interface DiscoverDependencies extends DiscoveryDependencies {
  readonly lastKnown: LastKnown;
  readonly clock: Clock;
  readonly random: () => number;
}

type UpstreamConfigs = Readonly<Record<string, UpstreamConfig>>;

/** The upstreams of a configuration with the endpoints that are known now, and what keeps them up to date. */
export interface Discovered {
  readonly configs: UpstreamConfigs;
  /** Lets these upstreams follow from here on. What followed before, does no longer. */
  feed(upstreams: UpstreamSet): void;
}

/**
 * Starts discovery where upstreams ask for it, or takes it over from the version before. Does not wait for what it finds: until then
 * an upstream has the endpoints that it lists, and what was last found for the same question.
 */
export async function discover(configs: UpstreamConfigs, generation: Generation, dependencies: DiscoverDependencies): Promise<Discovered> {
  const discoveries = new Map<string, Discovery>();
  const pause = pauses();
  for (const [name, { discovery }] of Object.entries(configs)) {
    if (discovery === undefined) continue;
    await pause();
    const kind = discovery.dns === undefined ? 'file' : 'dns';
    // What is counted outlives a discovery: the next one goes on counting there.
    await generation.keep(`discovery-metrics ${kind} ${name}`, () => ({ close: () => dependencies.metrics.forgetDiscovery(name, kind) }));
    const key = `discovery ${name} ${JSON.stringify(discovery)}`;
    discoveries.set(name, await generation.keep(key, () => new Discovery(name, sourceOf(discovery, dependencies), dependencies, dependencies.lastKnown.open(`endpoints of ${name} ${questionOf(discovery)}`))));
  }
  if (discoveries.size === 0) return { configs, feed: () => {} };
  return {
    configs: Object.fromEntries(
      Object.entries(configs).map(([name, config]) => {
        const found = discoveries.get(name);
        return [name, found === undefined ? config : { ...config, endpoints: [...found.endpointsWith(config.endpoints)] }];
      }),
    ),
    feed: (upstreams) => {
      for (const [name, discovery] of discoveries) {
        const upstream = upstreams.get(name)!;
        discovery.feed(configs[name]!.endpoints, (endpoints) => upstream.setEndpoints(endpoints));
      }
    },
  };
}

/** All that decides what an answer says of the upstream; what else there is decides whom and how often one asks. */
function questionOf({ dns, file }: DiscoveryConfig): string {
  return JSON.stringify(dns === undefined ? { file } : { name: dns.name, type: dns.type, port: dns.port, family: dns.family });
}

function sourceOf({ dns, file }: DiscoveryConfig, dependencies: DiscoverDependencies): DiscoverySource {
  return dns === undefined ? new FileSource(file!, dependencies) : new DnsSource(dns, dependencies);
}
