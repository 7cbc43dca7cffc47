import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEnrolledPair } from '../support/enrolled-pair.js';
import { until } from '../support/until.js';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const orders = 'spiffe://shop.internal/ns/default/sa/orders';
const inventory = 'spiffe://shop.internal/ns/default/sa/inventory';

test('a call goes from application to application in six steps, and back, in one trace', async (context) => {
  const seen: { path: string; headers: Record<string, string | string[] | undefined> }[] = [];
  const { callee, caller, call } = await startEnrolledPair(context, {
    app(path, headers) {
      seen.push({ path, headers });
      return 'three teapots';
    },
    policies: {
      identity: { mtls: { mode: 'strict' } },
      readers: { authorization: { rules: [{ name: 'orders-reads', action: 'allow', from: { identities: [orders] }, methods: ['GET'], paths: ['/stock'] }] } },
      patience: { retry: { attempts: 2 }, timeout: '5s' },
    },
  });
  seen.length = 0;

  const answer = await call('GET', '/stock/teapot', { traceparent: `00-${traceId}-00f067aa0ba902b7-01` });

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
  const refused = await call('POST', '/stock/teapot-2');
  assert.deepEqual([refused.status, (JSON.parse(refused.body) as { code: string }).code], [403, 'access_denied']);
  // 5. The application gets the request, in the same trace, and is told who called.
  assert.deepEqual(seen.map(({ path }) => path), ['/stock/teapot']);
  assert.match(String(seen[0]!.headers['traceparent']), new RegExp(`^00-${traceId}-`));
  assert.equal(seen[0]!.headers['x-forwarded-client-cert'], `By=${inventory};URI=${orders}`);
  // 6. And back: what it answered is what the caller got.
  assert.deepEqual(answer, { status: 200, body: 'three teapots' });
});
