import type { Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { Model } from '../model/model.js';
import type { Resource } from '../model/resources.js';
import type { InstanceSource } from './instances.js';
import { makeChange } from './make-change.js';
import { Registry } from './registry.js';
import { persistRegistry } from './registry-file.js';
import { ResourceStore } from './resource-store.js';
import type { Store } from './store.js';

/** The store of one control plane, in a directory or in memory. */
export async function openEmbeddedStore(directory: string | undefined, seed: readonly Resource[]): Promise<Store> {
  const store = await ResourceStore.open(directory, seed);
  const plan = (change: Parameters<Store['change']>[0]) => makeChange({ model: store.model, version: store.version, versions: new Map() }, change);
  return {
    get model() {
      return store.model;
    },
    get version() {
      return store.version;
    },
    versionOf: () => undefined,
    async change(change) {
      plan(change);
      let { version } = store;
      for (const { kind, name } of change.remove ?? []) version = await store.delete(kind, name);
      return change.put === undefined ? version : store.apply(change.put);
    },
    dryRun: async (change) => plan(change).changes,
    history: async () => [],
    at: async (version) => (version === store.version ? store.model : version === 0 ? Model.empty : undefined),
    onChange(listener) {
      store.onChange(listener);
      return () => {};
    },
    close: async () => {},
  };
}

/** The registry of one control plane, remembered in a directory. */
export async function openEmbeddedInstances(directory: string | undefined, { clock, logger, leaseGrace, onClose }: { readonly clock: Clock; readonly logger: Logger; readonly leaseGrace: number; readonly onClose: (close: () => Promise<void>) => void }): Promise<InstanceSource> {
  const registry = new Registry(clock);
  onClose(async () => registry.close());
  if (directory !== undefined) onClose(await persistRegistry(registry, directory, leaseGrace, logger));
  return {
    get instances() {
      return registry.instances.map(({ expiresAt, ...instance }) => ({ ...instance, leaseMs: Math.max(0, Math.round(expiresAt - clock.now())) }));
    },
    endpoints: registry.endpoints,
    register: async ({ service, instance, endpoint }, ttlMs) => registry.register(service, instance, endpoint, ttlMs),
    deregister: async (service, instance) => registry.deregister(service, instance),
    onChange(listener) {
      registry.onChange(listener);
      return () => {};
    },
    close: async () => registry.close(),
  };
}
