import type { Server as TlsServer } from 'node:tls';
import { collectDefaultMetrics, Gauge, Registry as MetricsRegistry } from 'prom-client';
import { openCertificates } from './ca/open.js';
import { createApi } from './api/server.js';
import { controlPlaneProcessSchema, crossCheck } from './config.js';
import type { Resource } from './model/resources.js';
import { publishMetrics } from './publish/publish-metrics.js';
import { Publisher } from './publish/publisher.js';
import { Registry } from './sources/registry.js';
import { persistRegistry } from './sources/registry-file.js';
import { ResourceStore } from './sources/resource-store.js';
import { writeEndpoint } from '../shared/config/endpoints.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'control-plane',
  description: 'Tells every proxy what to do: registry, policies, snapshots.',
  schema: controlPlaneProcessSchema,
  crossCheck,
  async start({ dataDir, resources, leaseGrace, listen, tokens, ca }, { clock, logger, lifecycle }) {
    const seed = resources.map((resource) => ('endpoints' in resource && resource.endpoints ? { ...resource, endpoints: resource.endpoints.map(writeEndpoint) } : resource)) as Resource[];
    const store = await ResourceStore.open(dataDir, seed);
    const registry = new Registry(clock, { graceMs: leaseGrace });
    lifecycle.onClose(() => registry.close());
    if (dataDir !== undefined) lifecycle.onClose(await persistRegistry(registry, dataDir, leaseGrace, logger));

    const metrics = new MetricsRegistry();
    collectDefaultMetrics({ register: metrics });
    const publisher: Publisher = new Publisher({ store, instances: registry, clock, metrics: publishMetrics(metrics, () => publisher.counts) });
    store.onChange(() => publisher.publish());
    registry.onChange(() => publisher.publish());
    new Gauge({ name: 'control_plane_instances', help: 'Registered instances.', registers: [metrics], collect() { this.set(registry.instances.length); } });
    new Gauge({ name: 'control_plane_registry_protected', help: '1 while instances without a lease are kept, since too many of them went silent at once.', registers: [metrics], collect() { this.set(registry.isProtected ? 1 : 0); } });
    new Gauge({ name: 'control_plane_registry_gathering', help: '1 for the grace after a start, in which not everybody can have registered yet.', registers: [metrics], collect() { this.set(registry.isGathering ? 1 : 0); } });

    const certificates = ca && (await openCertificates(ca, { dataDir, clock, logger, metrics, onClose: (close) => lifecycle.onClose(close) }));
    const api = createApi({ certificates, store, registry, publisher, metrics, clock, logger, tokens, isReady: () => lifecycle.readiness().ready });
    lifecycle.onClose(() => api.close());
    lifecycle.onClose(() => publisher.close());
    certificates?.serving?.onChange((pair) => (api.server as unknown as TlsServer).setSecureContext(pair));
    await api.listen({ ...listen });
    logger.info({ listen: api.server.address(), version: store.version }, 'ready');
  },
});
