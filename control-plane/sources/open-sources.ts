import { Gauge, type Registry as MetricsRegistry } from 'prom-client';
import type { Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Resource } from '../model/resources.js';
import type { StoreConfig } from '../store-config.js';
import { lockDirectory } from './directory-lock.js';
import { EmbeddedStore, historyDefaults } from './embedded-store.js';
import type { EtcdDocument } from './etcd-document.js';
import type { InstanceSource } from './instances.js';
import { AlwaysLeader, type Leadership } from './leadership.js';
import { FileOnceOnly, MemoryOnceOnly, type OnceOnly } from './once-only.js';
import { Registry } from './registry.js';
import { persistRegistry } from './registry-file.js';
import { measureSources } from './source-metrics.js';
import type { Store } from './store.js';

/** Where everything comes from that a control plane knows. */
export interface Sources {
  readonly store: Store;
  readonly instances: InstanceSource;
  readonly leadership: Leadership;
  readonly onceOnly: OnceOnly;
  /** A text that all control planes share; undefined where there is only one, which has files of its own. */
  readonly document: ((name: string) => EtcdDocument) | undefined;
}

export interface SourcesConfig {
  readonly store?: StoreConfig | undefined;
  /** The short way to an embedded store. */
  readonly dataDir?: string | undefined;
  readonly resources: readonly Resource[];
  /** How much history is kept; what is not said is up to the kind of store. `bytes` is for an embedded one. */
  readonly history: { readonly revisions?: number | undefined; readonly bytes?: number | undefined };
  /** How long instances may come back that could not renew (ms). */
  readonly leaseGrace: number;
  /** How long what is good once is good for at most (ms). */
  readonly longestTokenLifeMs?: number | undefined;
  readonly listen: { readonly host: string; readonly port: number; readonly isHttps: boolean };
}

export interface SourcesContext {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: MetricsRegistry;
  readonly lifecycle: { onClose(step: () => Promise<void> | void): void; onDrain(step: () => Promise<void>): void };
}

/** Opens the sources of either kind; what it opens closes with the process. With etcd it resolves once etcd has answered, however long that takes. */
export async function openSources(config: SourcesConfig, context: SourcesContext): Promise<Sources> {
  if (config.store?.kind !== 'etcd') return openEmbedded(config.store?.directory ?? config.dataDir, config, context);
  // With all that gRPC brings along, which is half of what would be loaded otherwise.
  const { openEtcd } = await import('./open-etcd.js');
  return openEtcd(config.store, config, context);
}

async function openEmbedded(directory: string | undefined, { resources, history, leaseGrace, longestTokenLifeMs }: SourcesConfig, { clock, logger, metrics, lifecycle }: SourcesContext): Promise<Sources> {
  if (directory !== undefined) lifecycle.onClose(await lockDirectory(directory));
  const { revisions = historyDefaults.revisions, bytes = historyDefaults.bytes } = history;
  const store = await EmbeddedStore.open({ directory, seed: resources, history: { revisions, bytes }, clock });
  lifecycle.onClose(() => store.close());
  const registry = new Registry(clock, { graceMs: leaseGrace });
  lifecycle.onClose(() => registry.close());
  if (directory !== undefined) lifecycle.onClose(await persistRegistry(registry, directory, leaseGrace, logger));
  new Gauge({ name: 'control_plane_registry_protected', help: '1 while instances without a lease are kept, since too many of them went silent at once.', registers: [metrics], collect() { this.set(registry.isProtected ? 1 : 0); } });
  new Gauge({ name: 'control_plane_registry_gathering', help: '1 for the grace after a start, in which not everybody can have registered yet.', registers: [metrics], collect() { this.set(registry.isGathering ? 1 : 0); } });
  const onceOnly = directory === undefined ? new MemoryOnceOnly(clock, { longestLifeMs: longestTokenLifeMs }) : await FileOnceOnly.open(directory, clock, { longestLifeMs: longestTokenLifeMs });
  if (onceOnly instanceof FileOnceOnly) lifecycle.onClose(() => onceOnly.close());
  const leadership = new AlwaysLeader();
  measureSources(metrics, { isAvailable: () => store.isWritable, leadership });
  return { store, instances: registry, leadership, onceOnly, document: undefined };
}
