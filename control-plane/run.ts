import { collectDefaultMetrics, Gauge, Registry as MetricsRegistry } from 'prom-client';
import { openApiServer } from './api/open-api-server.js';
import type { WorkloadIdentity } from './ca/workloads.js';
import { controlPlaneProcessSchema, crossCheck } from './config.js';
import type { Identity } from './model/resources.js';
import { publishMetrics } from './publish/publish-metrics.js';
import { Publisher } from './publish/publisher.js';
import { openSources } from './sources/open-sources.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'control-plane',
  description: 'Tells every proxy what to do: registry, policies, snapshots.',
  schema: controlPlaneProcessSchema,
  crossCheck,
  async start({ store: storeConfig, dataDir, resources, history, leaseGrace, listen, access, audit, ca }, { clock, logger, lifecycle, version }) {
    // eslint-disable-next-line no-restricted-properties -- where it comes into the process
    const random = Math.random;
    const metrics = new MetricsRegistry();
    collectDefaultMetrics({ register: metrics });
    const { store, instances, leadership, onceOnly, document } = await openSources({ store: storeConfig, dataDir, resources, history, leaseGrace, longestTokenLifeMs: ca && ca.joinTokenMaxTtl + ca.clockSkew, listen: { ...listen, isHttps: listen.tls !== undefined || ca?.serve !== undefined } }, { clock, random, logger, metrics, lifecycle });
    const publisher: Publisher = new Publisher({ store, instances, clock, metrics: publishMetrics(metrics, () => publisher.counts) });
    store.onChange(() => publisher.publish());
    instances.onChange(() => publisher.publish());
    new Gauge({ name: 'control_plane_instances', help: 'Registered instances.', registers: [metrics], collect() { this.set(instances.instances.length); } });

    const certificates = ca && (await (await import('./ca/open.js')).openCertificates(ca, { dataDir: storeConfig?.kind === 'embedded' ? storeConfig.directory : dataDir, leadership, once: onceOnly, document: document?.('authority'), clock, logger, metrics, identities: () => store.model.identities.filter(isOfWorkload), onClose: (close) => lifecycle.onClose(close) }));
    const { api, close } = await openApiServer({ store, trustDomain: ca?.trustDomain ?? access?.trustDomain, registry: instances, publisher, metrics, clock, logger, listen, access, audit, version, certificates, isReady: () => lifecycle.readiness().ready });
    lifecycle.onClose(close);
    lifecycle.onClose(() => publisher.close());
    await api.listen({ host: listen.host, port: listen.port });
    logger.info({ listen: api.server.address(), version: store.version }, 'ready');
  },
});

function isOfWorkload(identity: Identity): identity is Identity & WorkloadIdentity {
  return identity.workload !== undefined;
}
