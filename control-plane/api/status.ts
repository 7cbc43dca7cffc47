import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.js';
import { duration } from '../../shared/config/units.js';
import { rejectionSchema } from '../../shared/control/snapshot.js';
import type { Publisher } from '../publish/publisher.js';
import type { Api, ApiContext } from './context.js';

const maxTimeoutMs = 60_000;

const proxyStatus = z
  .looseObject({
    node: z.string(),
    kind: z.enum(['gateway', 'sidecar']),
    service: z.string().optional(),
    connected: z.boolean(),
    sent: z.string().optional().describe('Version of the newest snapshot that was made for it.'),
    accepted: z.string().optional().describe('Version of the newest one that it accepted.'),
    rejected: z.looseObject({ version: z.string(), reason: z.string() }).optional().describe('The newest one, if it is not in force, and why.'),
    rejections: z.array(rejectionSchema).optional().describe('Parts of the newest one that are not in force.'),
  })
  .meta({ 'x-name': 'ProxyStatus' });
const statusAnswer = z.looseObject({ version: z.int(), settled: z.boolean().describe('Whether every connected proxy has answered for its newest snapshot.'), held: z.array(z.string()).describe('Policies that stay where they were, since the new place does not take them.'), proxies: z.array(proxyStatus) }).describe('What is known of the proxies.');

const statusQuery = z.strictObject({
  settled: z.enum(['true', 'false']).optional().describe('Whether to wait until every connected proxy has answered; 504 when that takes longer than `timeout`.'),
  timeout: duration.default(5_000).refine((value) => value <= maxTimeoutMs, 'expected at most 60s').describe('Longest wait.'),
});

/** What proxies have made of what they were sent. */
export function statusRoutes(api: Api, { store, publisher, clock }: ApiContext): void {
  api.get('/v1/status', {
    config: { need: 'read' },
    schema: {
      tags: ['proxies'], summary: 'Says which proxies are connected, and what they accepted or rejected', operationId: 'getStatus', querystring: statusQuery,
      response: { 200: statusAnswer, 504: statusAnswer.describe('Not every proxy has answered in time.') },
    },
  }, async (request, reply) => {
    const isWaiting = request.query.settled === 'true';
    if (isWaiting) await untilSettled(publisher, clock, request.query.timeout);
    const settled = publisher.isSettled;
    return reply.code(isWaiting && !settled ? 504 : 200).send({ version: store.version, settled, held: publisher.held, proxies: publisher.statuses });
  });
}

function untilSettled(publisher: Publisher, clock: Clock, timeoutMs: number): Promise<void> {
  if (publisher.isSettled) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      timer.cancel();
      unsubscribe();
      resolve();
    };
    const timer = clock.after(timeoutMs, finish);
    const unsubscribe = publisher.onProgress(() => publisher.isSettled && finish());
  });
}
