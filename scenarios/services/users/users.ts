import type { FastifyInstance } from 'fastify';
import { timingSafeEqual } from 'node:crypto';
import { callerOf } from '../caller.js';
import { Peer, withPeers } from '../peer.js';

/** The demo's accounts. What they may do is in the token that a login returns. */
const accounts = new Map([
  ['alice', { password: 'wonderland', name: 'Alice', scope: 'orders:read orders:write' }],
  ['bob', { password: 'builder', name: 'Bob', scope: 'orders:read' }],
]);

/** Who the customers are: checks a password and hands out a token of the issuer. */
export function users(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const issuer = new Peer('issuer', { ISSUER_URLS: environment['ISSUER_URLS'] });
  const orders = new Peer('orders', environment);
  const payments = new Peer('payments', environment);
  return (app) => {
    app.post<{ Body: { user?: unknown; password?: unknown } | null }>('/login', async (request, reply) => {
      const { user, password } = request.body ?? {};
      const account = accounts.get(String(user));
      if (account === undefined || !isEqual(String(password), account.password)) return reply.code(401).send({ error: 'unknown user or wrong password' });
      return issuer.call('POST', '/token', callerOf(request, reply), { sub: String(user), scope: account.scope });
    });
    // A customer's order: users asks orders, which asks the inventory.
    app.get<{ Params: { order: string } }>('/users/:id/orders/:order', async (request, reply) =>
      withPeers(reply, async () => ({ order: await orders.call('GET', `/orders/${encodeURIComponent(request.params.order)}`, callerOf(request, reply)) })),
    );
    // A shortcut past orders, which somebody found practical.
    app.post<{ Params: { id: string }; Body: { amount?: unknown } | null }>('/users/:id/payments', async (request, reply) =>
      withPeers(reply, async () => ({ payment: await payments.call('POST', '/payments', callerOf(request, reply), { amount: Number(request.body?.amount ?? 0) }) })),
    );
    app.get<{ Params: { id: string } }>('/users/:id', async (request, reply) => {
      const account = accounts.get(request.params.id);
      return account === undefined ? reply.code(404).send({ error: 'no such user' }) : { id: request.params.id, name: account.name };
    });
  };
}

function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
