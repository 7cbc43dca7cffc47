import httpProxyPlugin from '@fastify/http-proxy';
import { fastify } from 'fastify';
import httpProxy from 'http-proxy';
import { createServer } from 'node:http';

/* The plugins that one would take without us, as they come. Arguments: which, the port to listen on, the origin's. */

const [name, listen, origin] = process.argv.slice(2) as [string, string, string];
const upstream = `http://127.0.0.1:${origin}`;
if (name === '@fastify/http-proxy') {
  // Its own request log is what it has for an access log: four lines a request.
  const server = fastify({ logger: true });
  await server.register(httpProxyPlugin, { upstream });
  await server.listen({ port: Number(listen), host: '127.0.0.1' });
} else {
  const { Agent } = await import('node:http');
  const proxy = httpProxy.createProxyServer({ target: upstream, agent: new Agent({ keepAlive: true, maxSockets: 1_024 }) });
  proxy.on('error', () => {});
  createServer((request, response) => proxy.web(request, response)).listen(Number(listen), '127.0.0.1');
}
