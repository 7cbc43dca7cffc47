import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { refusedPort } from '../support/origin.js';
import { echo, listen, placements, starter, type Answer, type Start } from '../support/placements.js';
import { portIn, TestProcess } from '../support/process.js';
import { RawClient } from '../support/raw-client.js';

const side = ({ body }: Answer): string => body.split(' ')[0]!;

for (const [placement, definition] of Object.entries(placements)) {
  describe(`traffic shaping in the ${placement}`, () => {
    const shaping = (name: string, run: (start: Start, context: TestContext) => Promise<void>): void => void test(name, (context) => run(starter(context, definition), context));

    shaping('a canary by share, and by header past the share', async (start, context) => {
      const [stable, canary] = [await echo(context, 'stable'), await echo(context, 'canary')];
      const { send, process, metrics } = await start(
        [{ split: [{ upstream: 'inventory', weight: 80 }, { upstream: 'inventory-v2', weight: 20 }] }, { match: { headers: { 'X-Canary': 'always' } }, upstream: 'inventory-v2' }],
        { inventory: stable.port, 'inventory-v2': canary.port },
      );
      const sides: string[] = [];
      for (let index = 0; index < 300; index++) sides.push(side(await send()));
      // 60 are expected; six standard deviations.
      const share = sides.filter((name) => name === 'canary').length;
      assert.ok(share > 18 && share < 102, String(share));
      for (let index = 0; index < 10; index++) assert.equal(side(await send({ headers: { 'x-canary': 'always' } })), 'canary');
      const lines = await process.accessLog(310);
      assert.equal(lines.filter(({ upstream }) => upstream === 'inventory-v2').length, share + 10);
      assert.deepEqual(new Set(lines.map(({ route }) => route)), new Set(['inventory/', 'inventory/ (x-canary)']));
      assert.match(await metrics(), new RegExp(`^proxy_upstream_attempts_total\\{upstream="inventory-v2"\\} ${share + 10}$`, 'm'));
    });

    shaping('the same cookie stays on the same side, and clients are spread', async (start, context) => {
      const [stable, canary] = [await echo(context, 'stable'), await echo(context, 'canary')];
      const { send } = await start(
        [{ split: [{ upstream: 'inventory', weight: 1 }, { upstream: 'inventory-v2', weight: 1 }], sticky: { cookie: 'session', ttl: '1h' } }],
        { inventory: stable.port, 'inventory-v2': canary.port },
      );
      const sides = new Set<string>();
      for (let client = 0; client < 16; client++) {
        const first = await send();
        const cookie = first.headers['set-cookie']![0]!.split(';')[0]!;
        for (let index = 0; index < 5; index++) assert.equal(side(await send({ headers: { cookie } })), side(first));
        sides.add(side(first));
      }
      assert.deepEqual([...sides].sort(), ['canary', 'stable']);
    });

    shaping('the side is chosen once a request: retries stay on it', async (start, context) => {
      const good = await echo(context, 'good');
      const retry = { attempts: 3, backoff: { base: 0, max: 0 }, budget: { minPerSecond: 1_000 } };
      const { send, process } = await start([{ split: [{ upstream: 'inventory', weight: 1 }, { upstream: 'dead', weight: 1 }], retry }], { inventory: good.port, dead: await refusedPort() });
      for (let index = 0; index < 30; index++) await send();
      const lines = await process.accessLog(30);
      const failed = lines.filter(({ upstream }) => upstream === 'dead');
      assert.ok(failed.length > 0 && failed.length < 30);
      assert.deepEqual(new Set(lines.map(({ status, upstream }) => `${String(status)} ${String(upstream)}`)), new Set(['200 inventory', '503 dead']));
    });

    shaping('aborts and delays by header, past retries and deadline, with their flags', async (start, context) => {
      const origin = await echo(context, 'origin');
      const { send, process, counted } = await start(
        [
          { upstream: 'inventory' },
          { match: { path: '/abort' }, upstream: 'inventory', retry: { attempts: 3 }, fault: { abort: { status: 503 }, headers: { 'X-Fault': 'abort' } } },
          { match: { path: '/delay' }, upstream: 'inventory', timeout: '100ms', fault: { delay: { fixed: '300ms' }, headers: { 'X-Fault': { prefix: 'delay' } } } },
          { match: { path: '/both' }, upstream: 'inventory', fault: { delay: { fixed: '1ms' }, abort: { status: 429 } } },
        ],
        { inventory: origin.port },
      );
      const aborted = await send({ path: '/abort', headers: { 'x-fault': 'abort' } });
      assert.deepEqual([aborted.status, (JSON.parse(aborted.body) as { code: string }).code], [503, 'fault_injected']);
      assert.equal((await send({ path: '/abort' })).status, 200);
      const startedAt = performance.now();
      assert.equal((await send({ path: '/delay', headers: { 'x-fault': 'delay-me' } })).status, 200);
      assert.ok(performance.now() - startedAt >= 295);
      assert.equal((await send({ path: '/both' })).status, 429);
      assert.equal((await send()).status, 200);
      const lines = await process.accessLog(5);
      assert.deepEqual(
        lines.map(({ path, status, code, flags, attempts }) => [path, status, code, flags, attempts]),
        [['/abort', 503, 'fault_injected', 'FI', 0], ['/abort', 200, undefined, undefined, 1], ['/delay', 200, undefined, 'DI', 1], ['/both', 429, 'fault_injected', 'DI,FI', 0], ['/', 200, undefined, undefined, 1]],
      );
      await counted('proxy_faults_injected_total{type="abort"}', 2);
      await counted('proxy_faults_injected_total{type="delay"}', 2);
    });

    shaping('a client that leaves is not held any longer', async (start, context) => {
      const origin = await echo(context, 'origin');
      const { port, process, counted } = await start([{ upstream: 'inventory', fault: { delay: { fixed: '10m' } } }], { inventory: origin.port });
      const client = await RawClient.connect(port);
      client.send('GET / HTTP/1.1\r\nHost: inventory\r\n\r\n');
      await counted('proxy_faults_injected_total{type="delay"}', 1);
      client.close();
      const [line] = await process.accessLog(1);
      assert.deepEqual([line!['code'], line!['flags'], origin.seen.length], ['client_closed', 'DI,DC', 0]);
    });

    shaping('rewrites what goes upstream, and matches what came', async (start, context) => {
      const origin = await echo(context, 'origin');
      const { send, process } = await start(
        [
          { upstream: 'inventory' },
          { match: { path: '/api' }, upstream: 'inventory', rewrite: { prefix: '/v2', host: 'stock.internal' }, headers: { request: { set: { 'X-Tier': 'gold' }, remove: ['X-Debug'] }, response: { remove: ['X-Powered-By'], add: { 'X-Served-By': 'us' } } } },
          { match: { path: '/item' }, upstream: 'inventory', rewrite: { regex: { pattern: '^/item/([0-9]+)', substitution: '/items/$1' } } },
        ],
        { inventory: origin.port },
      );
      const cases = [
        ['/api/a%2db/%e4?q=%2F..', '/v2/a-b/%E4?q=%2F..'],
        ['/api//x/./y', '/v2/x/y'],
        ['/x/../api/../api/z/', '/v2/z/'],
        ['/api/%2e%2e/secret', '/secret'],
        ['/apis', '/apis'],
        ['/item/7/x?item=/item/8', '/items/7/x?item=/item/8'],
        ['/item/seven', '/item/seven'],
      ] as const;
      for (const [path, expected] of cases) assert.equal((await send({ path })).body, `origin ${expected}`, path);
      const { headers } = await send({ path: '/api', headers: { 'x-debug': '1', 'x-tier': 'free' } });
      assert.deepEqual([headers['x-powered-by'], headers['x-served-by']], [undefined, 'us']);
      const seen = origin.seen.at(-1)!.headers;
      assert.deepEqual([seen.host, seen['x-tier'], seen['x-debug']], ['stock.internal', 'gold', undefined]);
      assert.equal((await process.accessLog(1))[0]!['path'], '/api/a-b/%E4');
    });

    shaping('answers by itself, and redirects', async (start) => {
      const { send } = await start(
        [
          { match: { path: '/old' }, redirect: { status: 308, prefix: '/new', scheme: 'https' } },
          { match: { path: '/robots.txt' }, respond: { body: 'User-agent: *\n' }, headers: { response: { set: { 'Cache-Control': 'max-age=60' } } } },
          { match: { path: '/gone' }, respond: { status: 410 } },
        ],
        {},
      );
      const moved = await send({ path: '/old//x?y' });
      assert.deepEqual([moved.status, moved.headers.location, moved.body], [308, 'https://inventory/new/x?y', '']);
      const robots = await send({ path: '/robots.txt' });
      assert.deepEqual([robots.status, robots.body, robots.headers['cache-control'], robots.headers['content-type']], [200, 'User-agent: *\n', 'max-age=60', 'text/plain; charset=utf-8']);
      const head = await send({ path: '/robots.txt', method: 'HEAD' });
      assert.deepEqual([head.body, head.headers['content-length']], ['', '14']);
      assert.equal((await send({ path: '/gone', method: 'POST', body: 'x' })).status, 410);
      assert.equal((await send({ path: '/other' })).status, 404);
    });
  });
}

test('the sidecar sends what no route matches to the upstream of that name', async (context) => {
  const [stable, canary] = [await echo(context, 'stable'), await echo(context, 'canary')];
  const { send } = await starter(context, placements.sidecar)([{ match: { cookies: { beta: { present: true } } }, upstream: 'inventory-v2' }], { inventory: stable.port, 'inventory-v2': canary.port });
  assert.equal(side(await send()), 'stable');
  assert.equal(side(await send({ headers: { cookie: 'beta=1' } })), 'canary');
  assert.equal(side(await send({ headers: { host: 'inventory-v2' } })), 'canary');
});

test('the sidecar of an application breaks and changes what comes in for it', async (context) => {
  const app = await echo(context, 'app');
  const sidecar = new TestProcess('sidecar/main.js', {
    service: 'orders', admin: listen,
    inbound: { listen, app: `127.0.0.1:${app.port}`, fault: { abort: { status: 500 }, headers: { 'X-Fault': { present: true } } }, headers: { request: { remove: ['X-Internal'] }, response: { remove: ['X-Powered-By'] } } },
  });
  context.after(() => sidecar.stop());
  const url = `http://127.0.0.1:${portIn(await sidecar.logged('ready'), 'inbound')}`;
  assert.equal((await fetch(url, { headers: { 'x-fault': '1' } })).status, 500);
  const answer = await fetch(url, { headers: { 'x-internal': '1' } });
  assert.deepEqual([answer.status, answer.headers.get('x-powered-by')], [200, null]);
  assert.deepEqual(app.seen.map(({ headers }) => headers['x-internal']), [undefined]);
});
