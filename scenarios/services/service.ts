import Fastify, { type FastifyInstance } from 'fastify';
import { withoutSchemas } from '../../shared/process/without-schemas.js';
import { goneBefore } from './caller.js';
import { controlServer } from './control.js';
import { FaultSwitch } from './fault.js';
import { Stats } from './stats.js';

interface DemoService {
  readonly app: FastifyInstance;
  readonly control: FastifyInstance;
}

/**
 * A service of the demo shop: the application on one port, and on another the switch with which the lab makes it
 * fail, its counters and its metrics. What goes through the second is no traffic of the shop.
 */
export function demoService(name: string, routes: (app: FastifyInstance) => void): DemoService {
  const faults = new FaultSwitch();
  const stats = new Stats();
  const app = Fastify({ keepAliveTimeout: 75_000, schemaController: withoutSchemas });
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

  return { app, control: controlServer(name, faults, stats) };
}

/** Listens on both ports and stops on SIGTERM. */
export async function serve({ app, control }: DemoService, environment: NodeJS.ProcessEnv): Promise<void> {
  const { HOST = '127.0.0.1', PORT = '0', CONTROL_HOST = HOST, CONTROL_PORT = '0' } = environment;
  await app.listen({ host: HOST, port: Number(PORT) });
  await control.listen({ host: CONTROL_HOST, port: Number(CONTROL_PORT) });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
}
