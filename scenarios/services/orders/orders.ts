import type { FastifyInstance, FastifyReply } from 'fastify';
import { Peer, PeerFailure } from '../peer.js';

/** The shop's orders: each needs the stock of what was ordered, and a new one a payment. */
export function orders(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const inventory = new Peer('inventory', environment);
  const payments = new Peer('payments', environment);
  return (app) => {
    app.get<{ Params: { id: string } }>('/orders/:id', async (request, reply) => {
      const { id } = request.params;
      return withPeers(reply, async () => ({ id, item: 'teapot', stock: await inventory.call('GET', '/stock/teapot', request.headers) }));
    });
    app.post<{ Body: { amount?: unknown } | null }>('/orders', async (request, reply) => {
      const amount = Number(request.body?.amount ?? 10);
      return withPeers(reply, async () => {
        const stock = await inventory.call('GET', '/stock/teapot', request.headers);
        const payment = await payments.call('POST', '/payments', request.headers, { amount });
        return { id: 'new', item: 'teapot', stock, payment };
      });
    });
  };
}

async function withPeers(reply: FastifyReply, answer: () => Promise<object>): Promise<object> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof PeerFailure)) throw error;
    return reply.code(error.status).send({ error: error.message });
  }
}
