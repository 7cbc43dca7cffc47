import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { request } from 'node:http';
import { TestMesh, until } from '../support/mesh.js';
import { httpOrigin } from '../support/origin.js';
import { portIn } from '../support/process.js';

const listen = { host: '127.0.0.1', port: 0 };
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const orders = 'spiffe://shop.internal/ns/default/sa/orders';
const inventory = 'spiffe://shop.internal/ns/default/sa/inventory';

interface Answer {
  readonly status: number;
  readonly body: string;
}

function call(port: number, method: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path: `http://inventory${path}`, headers: { host: 'inventory', traceparent: `00-${traceId}-00f067aa0ba902b7-01` } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text)).on('end', () => resolve({ status: response.statusCode!, body }));
    });
    sent.on('error', reject).end();
  });
}

/** A control plane, and two applications with a sidecar each: identities are enrolled, addresses registered, policies sent. */
async function start(context: TestContext, app: (path: string, headers: Record<string, string | string[] | undefined>) => string) {
  const policy = (name: string, spec: object): object => ({ kind: 'Policy', name, placement: 'sidecar', target: { services: ['inventory'] }, spec });
  const mesh = new TestMesh({}, {
    resources: [
      { kind: 'Service', name: 'orders' },
      { kind: 'Service', name: 'inventory' },
      policy('identity', { mtls: { mode: 'strict' } }),
      policy('readers', { authorization: { rules: [{ name: 'orders-reads', action: 'allow', from: { identities: [orders] }, methods: ['GET'], paths: ['/stock'] }] } }),
      policy('patience', { retry: { attempts: 2 }, timeout: '5s' }),
    ],
  });
  context.after(() => mesh.close());
  await mesh.start();
  const origin = await httpOrigin((incoming, response) => response.setHeader('x-seen', '1').end(app(incoming.url!, incoming.headers)));
  context.after(() => origin.close());
  const sidecar = async (service: string, more: object, advertise?: string) =>
    mesh.sidecar(service, { directory: mesh.newDirectory(), joinTokenFile: mesh.file(await mesh.joinToken(service)) }, more, { leaseTtl: '3s', ...(advertise !== undefined && { advertise }) });
  // Where it is reached is told before it listens: a port that was free a moment ago.
  const reserved = await httpOrigin(() => {});
  await reserved.close();
  const callee = await sidecar('inventory', { inbound: { listen: { host: '127.0.0.1', port: reserved.port }, app: `127.0.0.1:${origin.port}` } }, `127.0.0.1:${reserved.port}`);
  const caller = await sidecar('orders', { inbound: undefined, outbound: { listen } });
  await Promise.all([callee.logged('ready'), caller.logged('ready')]);
  await until(async () => ((await mesh.ask('GET', '/v1/registry')).body['instances'] as unknown[]).length === 1);
  const port = portIn(await caller.logged('ready'), 'outbound');
  await until(async () => (await call(port, 'GET', '/stock/warm-up')).status === 200);
  return { callee, caller, port };
}

test('a call goes from application to application in six steps, and back, in one trace', async (context) => {
  const seen: { path: string; headers: Record<string, string | string[] | undefined> }[] = [];
  const { callee, caller, port } = await start(context, (path, headers) => {
    seen.push({ path, headers });
    return 'three teapots';
  });
  seen.length = 0;

  const answer = await call(port, 'GET', '/stock/teapot');

  const inTrace = async (process: typeof caller): Promise<Record<string, unknown>> => {
    const lines = (): Record<string, unknown>[] => process.stdout.split('\n').filter((line) => line.includes('/stock/teapot')).map((line) => JSON.parse(line) as Record<string, unknown>);
    await until(() => lines().length === 1);
    return lines()[0]!;
  };
  const [out, inbound] = [await inTrace(caller), await inTrace(callee)];

  // 1. The application speaks plain HTTP to the sidecar beside it.
  assert.deepEqual([out['listener'], out['traceId'], out['client']], ['outbound', traceId, '127.0.0.1']);
  // 2. Its sidecar chooses an instance that the registry knows, by the policies of the service that is called.
  assert.deepEqual([out['upstream'], out['status'], out['attempts']], ['inventory', 200, 1]);
  assert.match(String(out['endpoint']), /^127\.0\.0\.1:\d+$/);
  // 3. It proves who it is, by mutual TLS: the other side knows.
  assert.deepEqual([inbound['peer'], inbound['traceId']], [orders, traceId]);
  // 4. The other sidecar lets in what its policies allow, and nothing else.
  assert.deepEqual([inbound['listener'], inbound['status']], ['inbound', 200]);
  const refused = await call(port, 'POST', '/stock/teapot-2');
  assert.deepEqual([refused.status, (JSON.parse(refused.body) as { code: string }).code], [403, 'access_denied']);
  // 5. The application gets the request, in the same trace, and is told who called.
  assert.deepEqual(seen.map(({ path }) => path), ['/stock/teapot']);
  assert.match(String(seen[0]!.headers['traceparent']), new RegExp(`^00-${traceId}-`));
  assert.equal(seen[0]!.headers['x-forwarded-client-cert'], `By=${inventory};URI=${orders}`);
  // 6. And back: what it answered is what the caller got.
  assert.deepEqual(answer, { status: 200, body: 'three teapots' });
});
