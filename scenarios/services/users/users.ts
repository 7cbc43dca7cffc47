import type { FastifyInstance, FastifyReply } from 'fastify';
import { randomUUID, timingSafeEqual } from 'node:crypto';
import { callerOf } from '../caller.js';
import { Peer, withPeers } from '../peer.js';
import { RedisClient, StoreFailure } from '../sessions/redis-client.js';

/** The demo's accounts. What they may do is in the token that a login returns. */
const accounts = new Map([
  ['alice', { password: 'wonderland', name: 'Alice', scope: 'orders:read orders:write' }],
  ['bob', { password: 'builder', name: 'Bob', scope: 'orders:read' }],
]);

/** How long a session is remembered (s). */
const sessionSeconds = 3_600;

/** Who the customers are: checks a password, hands out a token of the issuer, and keeps sessions in the store. */
export function users(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const issuer = new Peer('issuer', { ISSUER_URLS: environment['ISSUER_URLS'] });
  const orders = new Peer('orders', environment);
  const sessions = new RedisClient(environment['SESSIONS_ADDRESS'] ?? '127.0.0.1:6379');
  return (app) => {
    app.post<{ Body: { user?: unknown; password?: unknown } | null }>('/login', async (request, reply) => {
      const { user, password } = request.body ?? {};
      const account = accounts.get(String(user));
      if (account === undefined || !isEqual(String(password), account.password)) return reply.code(401).send({ error: 'unknown user or wrong password' });
      const token = (await issuer.call('POST', '/token', callerOf(request, reply), { sub: String(user), scope: account.scope })) as object;
      const session = randomUUID();
      return withStore(reply, async () => {
        await sessions.send('SET', `session:${session}`, String(user), 'EX', String(sessionSeconds));
        return { ...token, session };
      });
    });
    app.get<{ Params: { id: string } }>('/users/sessions/:id', async (request, reply) =>
      withStore(reply, async () => {
        const user = await sessions.send('GET', `session:${request.params.id}`);
        return user === null ? reply.code(404).send({ error: 'no such session' }) : { user };
      }),
    );
    // A customer's order: users asks orders, which asks the inventory.
    app.get<{ Params: { order: string } }>('/users/:id/orders/:order', async (request, reply) =>
      withPeers(reply, async () => ({ order: await orders.call('GET', `/orders/${encodeURIComponent(request.params.order)}`, callerOf(request, reply)) })),
    );
    app.get<{ Params: { id: string } }>('/users/:id', async (request, reply) => {
      const account = accounts.get(request.params.id);
      return account === undefined ? reply.code(404).send({ error: 'no such user' }) : { id: request.params.id, name: account.name };
    });
  };
}

/** Answers with what the store was needed for, or with 503. */
async function withStore(reply: FastifyReply, answer: () => Promise<object>): Promise<object> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error;
    return reply.code(503).send({ error: error.message });
  }
}

function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
