import { collectDefaultMetrics, Gauge, Registry as MetricsRegistry } from 'prom-client';
import { createApi } from './api/server.js';
import { controlPlaneProcessSchema, crossCheck } from './config.js';
import type { Resource } from './model/resources.js';
import { Publisher } from './publish/publisher.js';
import { openSources } from './sources/open-sources.js';
import { writeEndpoint } from '../shared/config/endpoints.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'control-plane',
  description: 'Tells every proxy what to do: registry, policies, snapshots.',
  schema: controlPlaneProcessSchema,
  crossCheck,
  async start({ store: storeConfig, dataDir, resources, leaseGrace, listen, tokens }, { clock, logger, lifecycle }) {
    const seed = resources.map((resource) => ('endpoints' in resource && resource.endpoints ? { ...resource, endpoints: resource.endpoints.map(writeEndpoint) } : resource)) as Resource[];
    // eslint-disable-next-line no-restricted-properties -- where it comes into the process
    const random = Math.random;
    const metrics = new MetricsRegistry();
    const { store, instances } = await openSources({ store: storeConfig, dataDir, resources: seed, leaseGrace, listen }, { clock, random, logger, metrics, lifecycle });

    const publisher = new Publisher(() => store.model, instances.endpoints);
    store.onChange(() => publisher.publish());
    instances.onChange(() => publisher.publish());

    collectDefaultMetrics({ register: metrics });
    new Gauge({ name: 'control_plane_proxies_connected', help: 'Proxies with an open stream.', registers: [metrics], collect() { this.set(publisher.statuses.filter(({ connected }) => connected).length); } });
    new Gauge({ name: 'control_plane_proxies_rejecting', help: 'Proxies that rejected their newest snapshot.', registers: [metrics], collect() { this.set(publisher.statuses.filter(({ rejected }) => rejected !== undefined).length); } });
    new Gauge({ name: 'control_plane_instances', help: 'Registered instances.', registers: [metrics], collect() { this.set(instances.instances.length); } });

    const api = createApi({ store, registry: instances, publisher, metrics, clock, logger, tokens, isReady: () => lifecycle.readiness().ready });
    lifecycle.onClose(() => api.close());
    lifecycle.onClose(() => publisher.close());
    await api.listen({ ...listen });
    logger.info({ listen: api.server.address(), version: store.version }, 'ready');
  },
});
