import Fastify, { type FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { goneBefore } from './caller.js';
import { FaultSwitch, faultSchema, noFault } from './fault.js';
import { Stats } from './stats.js';

export interface DemoService {
  readonly app: FastifyInstance;
  readonly control: FastifyInstance;
}

/** Exit code of the crash fault. */
const crashed = 75;

/**
 * A service of the demo shop: the application on one port, and on another the switch with which the lab makes it
 * fail, its counters and its metrics. What goes through the second is no traffic of the shop.
 */
export function demoService(name: string, routes: (app: FastifyInstance) => void): DemoService {
  const faults = new FaultSwitch();
  const stats = new Stats();
  const app = Fastify({ keepAliveTimeout: 75_000 });
  app.addHook('onRequest', async (request, reply) => {
    const tag = request.headers['x-lab-tag'] as string | undefined;
    stats.count(tag, request.headers['x-lab-client'] as string | undefined);
    const startedAt = performance.now();
    const gone = goneBefore(reply);
    const status = await faults.meet(gone);
    stats.worked(tag, gone.aborted ? 'stopped' : 'finished', performance.now() - startedAt);
    if (status !== undefined) await reply.code(status).send({ error: `${name} fails on purpose` });
  });
  routes(app);

  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const control = Fastify({ keepAliveTimeout: 75_000 });
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
  return { app, control };
}

/** Listens on both ports and stops on SIGTERM. */
export async function serve({ app, control }: DemoService, environment: NodeJS.ProcessEnv): Promise<void> {
  const { HOST = '127.0.0.1', PORT = '0', CONTROL_HOST = HOST, CONTROL_PORT = '0' } = environment;
  await app.listen({ host: HOST, port: Number(PORT) });
  await control.listen({ host: CONTROL_HOST, port: Number(CONTROL_PORT) });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
}
