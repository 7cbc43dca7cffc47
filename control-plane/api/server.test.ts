import assert from 'node:assert/strict';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { Registry as MetricsRegistry } from 'prom-client';
import { systemClock } from '../../shared/clock/clock.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { Publisher } from '../publish/publisher.js';
import { EmbeddedStore } from '../sources/embedded-store.js';
import { Registry } from '../sources/registry.js';
import { openApiServer } from './open-api-server.js';

async function serve(context: TestContext): Promise<FastifyInstance> {
  const clock = systemClock;
  const store = await EmbeddedStore.open({ directory: undefined, clock });
  const registry = new Registry(clock, { graceMs: 0 });
  const publisher = new Publisher({ store, instances: registry, clock });
  store.onChange(() => publisher.publish());
  const { api, close } = await openApiServer({ store, registry, publisher, clock, trustDomain: undefined, metrics: new MetricsRegistry(), logger: silentLogger, listen: { host: '127.0.0.1', port: 0 }, access: undefined, audit: {}, version: '1', isReady: () => true });
  await api.listen({ host: '127.0.0.1', port: 0 });
  context.after(async () => {
    publisher.close();
    await close();
    await registry.close();
    await store.close();
  });
  return api;
}

function open(context: TestContext, api: FastifyInstance, text: string): { socket: Socket; heard: (pattern: RegExp) => Promise<void> } {
  let all = '';
  const socket = connect((api.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write(text));
  socket.on('data', (data: Buffer) => (all += data.toString()));
  context.after(() => socket.destroy());
  const heard = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (pattern.test(all)) resolve();
      };
      socket.on('data', look).on('close', () => reject(new Error(`it ended with ${all}`)));
      look();
    });
  return { socket, heard };
}

test('a request whose body does not come is given up, and streams go on', async (context) => {
  const api = await serve(context);
  assert.ok(api.server.requestTimeout > 0 && api.server.requestTimeout <= 30_000);
  api.server.headersTimeout = api.server.requestTimeout = 500;
  const head = 'Host: localhost\r\n';
  const [watch, stream] = ['/v1/watch', '/v1/proxies/g/stream?kind=gateway'].map((path) => open(context, api, `GET ${path} HTTP/1.1\r\n${head}\r\n`));
  await Promise.all([watch!.heard(/200 OK/), stream!.heard(/event: snapshot/)]);
  await open(context, api, `PUT /v1/services/orders HTTP/1.1\r\n${head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{`).heard(/^HTTP\/1\.1 408 /);
  assert.equal((await api.inject({ method: 'PUT', url: '/v1/services/orders', payload: {} })).statusCode, 200);
  assert.equal((await api.inject({ method: 'PUT', url: '/v1/routes/all', payload: { service: 'orders' } })).statusCode, 200);
  await Promise.all([watch!.heard(/id: 2\n/), stream!.heard(/"name":"all"/)]);
});
