import type { FastifyInstance } from 'fastify';
import { callerOf } from '../caller.js';
import { Peer, withPeers } from '../peer.js';
import { PricingPeer } from '../pricing/peer.js';

/** The shop's orders: each needs the stock of what was ordered, and a new one a payment. */
export function orders(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const inventory = new Peer('inventory', environment);
  const payments = new Peer('payments', environment);
  const pricing = new PricingPeer(environment);
  return (app) => {
    // With `forgetful`, as in many an application, what was begun for a client goes on when the client has left.
    app.get<{ Params: { id: string }; Querystring: { forgetful?: string } }>('/orders/:id', async (request, reply) => {
      const { id } = request.params;
      const caller = request.query.forgetful === undefined ? callerOf(request, reply) : { headers: request.headers };
      return withPeers(reply, async () => ({ id, item: 'teapot', stock: await inventory.call('GET', '/stock/teapot', caller) }));
    });
    app.get<{ Params: { id: string } }>('/orders/:id/price', async (request, reply) =>
      withPeers(reply, async () => ({ id: request.params.id, price: await pricing.quote('teapot', callerOf(request, reply)) })),
    );
    app.get<{ Params: { id: string } }>('/orders/:id/prices', async (request, reply) =>
      withPeers(reply, async () => ({ id: request.params.id, prices: await pricing.scale('teapot', 5, callerOf(request, reply)) })),
    );
    app.post<{ Body: { amount?: unknown } | null }>('/orders', async (request, reply) => {
      const amount = Number(request.body?.amount ?? 10);
      const caller = callerOf(request, reply);
      return withPeers(reply, async () => {
        const stock = await inventory.call('GET', '/stock/teapot', caller);
        const payment = await payments.call('POST', '/payments', caller, { amount });
        return { id: 'new', item: 'teapot', stock, payment };
      });
    });
  };
}
