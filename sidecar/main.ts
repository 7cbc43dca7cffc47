import { AppHealth } from './app-health.js';
import { sidecarDynamicSchema, sidecarSchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { Sidecar } from './sidecar.js';
import { createAdminServer } from '../shared/admin/admin-server.js';
import { parseConfig } from '../shared/config/load.js';
import { formatAddress } from '../shared/config/units.js';
import { followControlPlane } from '../shared/control/follow-control-plane.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'sidecar',
  description: 'The helper: the proxy beside one application.',
  schema: sidecarSchema,
  crossCheck,
  async start(config, { clock, logger, lifecycle, schema, version }) {
    const dataPlane = new DataPlane(clock, logger, { accessLog: config.accessLog });
    lifecycle.onClose(() => dataPlane.close());
    const sidecar = await Sidecar.create(config, dataPlane);
    lifecycle.onClose(() => sidecar.close());

    const { inbound, controlPlane } = config;
    const health = inbound && new AppHealth({ app: inbound.app, path: inbound.health.path, intervalMs: inbound.health.interval, clock });
    if (health !== undefined) {
      lifecycle.onClose(() => health.close());
      await health.start();
    }

    const admin = createAdminServer({
      ...config.admin,
      registry: dataPlane.metrics.registry,
      logger,
      readiness: () => lifecycle.readiness(),
      config: () => config,
      upstreams: () => sidecar.upstreams(),
      drain: () => process.kill(process.pid, 'SIGTERM'),
      schema,
      version,
    });
    lifecycle.onClose(() => admin.close());
    const adminAddress = await admin.listen();

    await followControlPlane(controlPlane, {
      kind: 'sidecar',
      service: config.service,
      // A registration stands for the application: it lapses when the application does.
      register: controlPlane?.advertise && { address: formatAddress(controlPlane.advertise), isHealthy: () => health?.isHealthy ?? false },
      apply: (document) => sidecar.apply(parseConfig(document, sidecarDynamicSchema)),
      clock,
      random: dataPlane.dependencies.random,
      logger,
      lifecycle,
      metrics: dataPlane.metrics,
    });
    const addresses = await sidecar.listen();
    lifecycle.onDrain(() => sidecar.drain());
    logger.info({ service: config.service, ...addresses, admin: adminAddress }, 'ready');
  },
});
