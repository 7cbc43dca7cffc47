import { gatewayDynamicSchema, gatewaySchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { Gateway } from './gateway.js';
import { createAdminServer } from '../shared/admin/admin-server.js';
import { parseConfig } from '../shared/config/load.js';
import { followControlPlane } from '../shared/control/follow-control-plane.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { runProcess } from '../shared/process/run-process.js';

await runProcess({
  name: 'gateway',
  description: 'The ambassador: the proxy at the edge of the system.',
  schema: gatewaySchema,
  crossCheck,
  async start(config, { clock, logger, lifecycle, schema, version }) {
    const dataPlane = new DataPlane(clock, logger, { accessLog: config.accessLog });
    lifecycle.onClose(() => dataPlane.close());
    const gateway = await Gateway.create(config, dataPlane);
    lifecycle.onClose(() => gateway.close());

    const admin = createAdminServer({
      ...config.admin,
      registry: dataPlane.metrics.registry,
      logger,
      readiness: () => lifecycle.readiness(),
      config: () => ({ ...config, ...gateway.config }),
      upstreams: () => gateway.upstreams(),
      drain: () => process.kill(process.pid, 'SIGTERM'),
      schema,
      version,
    });
    lifecycle.onClose(() => admin.close());
    const adminAddress = await admin.listen();

    await followControlPlane(config.controlPlane, {
      kind: 'gateway',
      apply: (document) => gateway.apply(parseConfig(document, gatewayDynamicSchema, crossCheck)),
      clock,
      random: dataPlane.dependencies.random,
      logger,
      lifecycle,
      metrics: dataPlane.metrics,
    });
    const address = await gateway.listen();
    lifecycle.onDrain(() => gateway.drain());
    logger.info({ listen: address, admin: adminAddress }, 'ready');
  },
});
