import Fastify, { type FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { withoutSchemas } from '../../shared/process/without-schemas.js';
import { faultSchema, noFault, type FaultSwitch } from './fault.js';
import type { Stats } from './stats.js';

/** Exit code of the crash fault. */
const crashed = 75;

/** The switch with which the lab makes a service fail, its counters and its metrics. What goes through it is no traffic of the shop. */
export function controlServer(name: string, faults: FaultSwitch, stats: Stats): FastifyInstance {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const control = Fastify({ keepAliveTimeout: 75_000, schemaController: withoutSchemas });
  control.get('/healthz', async () => ({ status: 'ok', service: name }));
  control.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
  control.get('/_stats', async () => stats);
  control.delete('/_stats', async (_request, reply) => {
    stats.reset();
    return reply.code(204).send();
  });
  control.get('/_fault', async () => faults.fault);
  control.delete('/_fault', async (_request, reply) => {
    faults.set(noFault);
    return reply.code(204).send();
  });
  control.put('/_fault', async (request, reply) => {
    const parsed = faultSchema.safeParse(request.body);
    if (!parsed.success) return reply.code(422).send({ problems: parsed.error.issues.map(({ path, message }) => ({ path: path.join('.'), message })) });
    // A crash leaves what is in flight as it is: requests that hang are not answered first.
    if (parsed.data.crash) setImmediate(() => process.exit(crashed));
    else faults.set(parsed.data);
    return parsed.data;
  });
  return control;
}
