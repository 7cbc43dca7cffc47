import { collectDefaultMetrics, Gauge, Registry as MetricsRegistry } from 'prom-client';
import { openApiServer } from './api/open-api-server.js';
import { controlPlaneProcessSchema, crossCheck } from './config.js';
import { Publisher } from './publish/publisher.js';
import { EmbeddedStore } from './sources/embedded-store.js';
import type { InstanceSource } from './sources/instances.js';
import { Registry } from './sources/registry.js';
import { persistRegistry } from './sources/registry-file.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'control-plane',
  description: 'Tells every proxy what to do: registry, policies, snapshots.',
  schema: controlPlaneProcessSchema,
  crossCheck,
  async start({ dataDir, resources, history, leaseGrace, listen, access, audit }, { clock, logger, lifecycle, version }) {
    const store = await EmbeddedStore.open({ directory: dataDir, seed: resources, history, clock });
    lifecycle.onClose(() => store.close());
    const registry = new Registry(clock);
    lifecycle.onClose(() => registry.close());
    if (dataDir !== undefined) lifecycle.onClose(await persistRegistry(registry, dataDir, leaseGrace, logger));

    const publisher = new Publisher(() => store.model, registry.endpoints);
    store.onChange(() => publisher.publish());
    registry.onChange(() => publisher.publish());

    const metrics = new MetricsRegistry();
    collectDefaultMetrics({ register: metrics });
    new Gauge({ name: 'control_plane_proxies_connected', help: 'Proxies with an open stream.', registers: [metrics], collect() { this.set(publisher.statuses.filter(({ connected }) => connected).length); } });
    new Gauge({ name: 'control_plane_proxies_rejecting', help: 'Proxies that rejected their newest snapshot.', registers: [metrics], collect() { this.set(publisher.statuses.filter(({ rejected }) => rejected !== undefined).length); } });
    new Gauge({ name: 'control_plane_instances', help: 'Registered instances.', registers: [metrics], collect() { this.set(registry.instances.length); } });

    const { api, close } = await openApiServer({ store, registry: asInstances(registry, clock), publisher, metrics, clock, logger, listen, access, audit, version, isReady: () => lifecycle.readiness().ready });
    lifecycle.onClose(close);
    lifecycle.onClose(() => publisher.close());
    await api.listen({ host: listen.host, port: listen.port });
    logger.info({ listen: api.server.address(), version: store.version }, 'ready');
  },
});

/** The registry of this process, as what the API stands on. */
function asInstances(registry: Registry, clock: { now(): number }): Pick<InstanceSource, 'instances' | 'register' | 'deregister'> {
  return {
    get instances() {
      return registry.instances.map(({ expiresAt, ...instance }) => ({ ...instance, leaseMs: Math.max(0, Math.round(expiresAt - clock.now())) }));
    },
    register: async ({ service, instance, endpoint }, ttlMs) => registry.register(service, instance, endpoint, ttlMs),
    deregister: async (service, instance) => registry.deregister(service, instance),
  };
}
