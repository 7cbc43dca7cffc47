import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { edgeSchema, gatewayDynamicSchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { edgeServices } from './edge.js';
import { Plan } from './plan.js';
import { systemClock } from '../shared/clock/clock.js';
import { parseConfigInTurns } from '../shared/config/load.js';
import { processSections, requestLimitsSchema } from '../shared/config/sections.js';
import { mountStack } from '../shared/listener/fastify/mount-stack.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { createLogger } from '../shared/telemetry/logger.js';

export const ambassadorSchema = z.strictObject({
  ...gatewayDynamicSchema.shape,
  ...edgeSchema.shape,
  limits: requestLimitsSchema.prefault({}),
  zone: processSections.zone,
  accessLog: z.boolean().default(false).describe('One JSON line for each exchange, on stdout.'),
});

export interface AmbassadorOptions {
  /** Routes, upstreams and the rest, as in the gateway's configuration. Rejects with a `ConfigError` that names every problem. */
  readonly config: z.input<typeof ambassadorSchema>;
}

/**
 * The ambassador inside somebody's own Fastify application:
 *
 *     await application.register(ambassador, { prefix: '/api', config: { routes: [{ upstream: 'orders' }], upstreams: { orders: { endpoints: ['127.0.0.1:9000'] } } } });
 *
 * The prefix and everything below it goes through the gateway's stack, with its path as the client sent it; the rest stays the
 * application's, and a path that leaves the prefix by dot segments is refused. Bodies pass unread, whatever parsers the application
 * has. What its hooks throw is answered by its own error handler. Limits of connections are the application's server's.
 * Ends with the application.
 */
export async function ambassador(application: FastifyInstance, { config }: AmbassadorOptions): Promise<void> {
  if ((config as unknown) === undefined) throw new Error('the ambassador needs its configuration: register(ambassador, { prefix, config: { routes, upstreams } })');
  const parsed = await parseConfigInTurns(config, ambassadorSchema, (document) => crossCheck(document));
  const dataPlane = new DataPlane(systemClock, createLogger({ name: 'ambassador', level: 'warn' }), { accessLog: parsed.accessLog, zone: parsed.zone });
  const plan = await Plan.build(parsed, dataPlane.dependencies).catch((error: unknown) => {
    dataPlane.close();
    throw error;
  });
  plan.takeOver();
  application.addHook('onClose', () => {
    plan.retire();
    dataPlane.close();
  });
  await mountStack(application, { name: 'edge', limits: parsed.limits, clock: systemClock, ...edgeServices(parsed, dataPlane, plan.route) });
}
