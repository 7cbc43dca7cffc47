import fastifyStatic from '@fastify/static';
import Fastify from 'fastify';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Serves the newest report, and the older ones by their folder. Resolves with the address once it listens. */
export async function serveReports(directory: string, listen: { readonly host: string; readonly port: number }): Promise<string> {
  const root = resolve(directory);
  mkdirSync(root, { recursive: true });
  const server = Fastify();
  await server.register(fastifyStatic, { root, list: false });
  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/', async (_request, reply) => {
    if (existsSync(join(root, 'latest', 'report.html'))) return reply.redirect('/latest/report.html');
    return reply.type('text/html').header('refresh', '5').send('<!doctype html><title>Comparison in progress</title><p style="font:16px system-ui;margin:3rem">The comparison is running; the report appears here when it is done.</p>');
  });
  return server.listen(listen);
}
