import { z } from 'zod';
import type { Api, ApiContext } from './context.js';

/** What orchestrators and Prometheus ask; open to all, since it tells nothing of resources. */
export function operationRoutes(api: Api, { metrics, isReady }: ApiContext): void {
  const tags = ['operations'];
  const ready = z.object({ ready: z.boolean() });
  api.get('/healthz', { schema: { tags, summary: 'Whether the process lives', operationId: 'healthz', response: { 200: z.object({ status: z.literal('ok') }).describe('It does.') } } }, async () => ({ status: 'ok' }));
  api.get('/readyz', { schema: { tags, summary: 'Whether it takes requests', operationId: 'readyz', response: { 200: ready.describe('It does.'), 503: ready.describe('It does not: it starts, or drains.') } } }, async (_request, reply) =>
    reply.code(isReady() ? 200 : 503).send({ ready: isReady() }),
  );
  api.get('/metrics', { schema: { tags, summary: 'Metrics, for Prometheus', operationId: 'metrics', produces: ['text/plain'], response: { 200: z.string().describe('Metrics in the text format.') } } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}
