import { collectDefaultMetrics, Gauge, Registry as MetricsRegistry } from 'prom-client';
import { openApiServer } from './api/open-api-server.js';
import { openCertificates } from './ca/open.js';
import type { WorkloadIdentity } from './ca/workloads.js';
import { controlPlaneProcessSchema, crossCheck } from './config.js';
import type { Identity } from './model/resources.js';
import { publishMetrics } from './publish/publish-metrics.js';
import { Publisher } from './publish/publisher.js';
import { EmbeddedStore } from './sources/embedded-store.js';
import { Registry } from './sources/registry.js';
import { persistRegistry } from './sources/registry-file.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'control-plane',
  description: 'Tells every proxy what to do: registry, policies, snapshots.',
  schema: controlPlaneProcessSchema,
  crossCheck,
  async start({ dataDir, resources, history, leaseGrace, listen, access, audit, ca }, { clock, logger, lifecycle, version }) {
    const store = await EmbeddedStore.open({ directory: dataDir, seed: resources, history, clock });
    lifecycle.onClose(() => store.close());
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

    const certificates = ca && (await openCertificates(ca, { dataDir, clock, logger, metrics, identities: () => store.model.identities.filter(isOfWorkload), onClose: (close) => lifecycle.onClose(close) }));
    const { api, close } = await openApiServer({ store, registry, publisher, metrics, clock, logger, listen, access, audit, version, certificates, isReady: () => lifecycle.readiness().ready });
    lifecycle.onClose(close);
    lifecycle.onClose(() => publisher.close());
    await api.listen({ host: listen.host, port: listen.port });
    logger.info({ listen: api.server.address(), version: store.version }, 'ready');
  },
});

function isOfWorkload(identity: Identity): identity is Identity & WorkloadIdentity {
  return identity.workload !== undefined;
}
