import type { FastifyInstance } from 'fastify';

/** Stands in for a payment provider that belongs to somebody else. */
export function provider(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const instance = environment['INSTANCE'] ?? 'provider';
  let charges = 0;
  return (app) => {
    app.post<{ Body: { amount?: unknown } | null }>('/charges', async (request) => ({ charge: `ch_${++charges}`, amount: Number(request.body?.amount ?? 0), by: instance }));
  };
}
