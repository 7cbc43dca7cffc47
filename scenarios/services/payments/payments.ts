import type { FastifyInstance } from 'fastify';
import { callerOf } from '../caller.js';
import { Peer, PeerFailure } from '../peer.js';

/** Takes payments by asking the third-party provider. */
export function payments(environment: NodeJS.ProcessEnv): (app: FastifyInstance) => void {
  const provider = new Peer('provider', environment);
  return (app) => {
    app.post<{ Body: { amount?: unknown } | null }>('/payments', async (request, reply) => {
      try {
        return { status: 'paid', receipt: await provider.call('POST', '/charges', callerOf(request, reply), { amount: Number(request.body?.amount ?? 0) }) };
      } catch (error) {
        if (!(error instanceof PeerFailure)) throw error;
        return reply.code(error.status).send({ error: error.message });
      }
    });
  };
}
