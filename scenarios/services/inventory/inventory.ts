import type { FastifyInstance } from 'fastify';

/** What is in stock. The twin of inventory.py, for machines without Python. */
export function inventory(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const instance = environment['INSTANCE'] ?? 'inventory';
  return (app) => {
    app.get<{ Params: { sku: string } }>('/stock/:sku', async (request) => ({ sku: request.params.sku, count: 7, instance }));
  };
}
