import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { delay, systemClock } from '../../shared/clock/clock.js';
import { httpOrigin, readBody, refusedPort, tcpOrigin, type Origin } from '../support/origin.js';
import { portIn, TestProcess } from '../support/process.js';
import { exchangeRaw, RawClient } from '../support/raw-client.js';

/*
 * Retries, hedges, deadlines and limits over real sockets and real processes: what the policies' own tests show on a clock
 * that is turned by hand, as the next hop sees it.
 */

const local = { host: '127.0.0.1', port: 0 };

interface Started {
  readonly process: TestProcess;
  readonly port: number;
  metrics(): Promise<string>;
}

/** Ended here too, should a test fail before it ends them. */
const processes: TestProcess[] = [];
after(() => processes.forEach(({ child }) => child.kill('SIGKILL')));

async function gateway(config: object): Promise<Started> {
  const process = new TestProcess('gateway/main.js', { listen: local, admin: local, ...config });
  processes.push(process);
  const ready = await process.logged('ready');
  return { process, port: portIn(ready, 'listen'), metrics: async () => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text() };
}

async function sidecar(config: object): Promise<Started & { readonly outbound: number }> {
  const process = new TestProcess('sidecar/main.js', { service: 'orders', admin: local, ...config });
  processes.push(process);
  const ready = await process.logged('ready');
  const port = (name: string): number => (name in ready ? portIn(ready, name) : 0);
  return { process, port: port('inbound'), outbound: port('outbound'), metrics: async () => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text() };
}

const get = (port: number, fields: Record<string, string> = {}, path = '/'): Promise<string> =>
  exchangeRaw(port, `GET ${path} HTTP/1.1\r\nHost: orders\r\n${Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join('')}Connection: close\r\n\r\n`);

const roundRobin = { balance: { algorithm: 'round-robin' } };

describe('what an attempt tells the next hop', () => {
  let seen: IncomingHttpHeaders[];
  let answer: (response: ServerResponse) => void;
  let origin: Origin;
  before(async () => {
    origin = await httpOrigin((request, response) => {
      seen.push(request.headers);
      answer(response);
    });
  });
  after(() => origin.close());

  test('the second attempt says that it is the second, the first says nothing', async () => {
    seen = [];
    answer = (response) => response.writeHead(seen.length === 1 ? 503 : 200).end();
    const proxy = await gateway({ routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${origin.port}`], retry: {} } } });
    assert.match(await get(proxy.port), /^HTTP\/1\.1 200 /);
    assert.deepEqual(seen.map((headers) => headers['x-envoy-attempt-count']), [undefined, '2']);
    await proxy.process.stop();
  });

  test('over two hops the time that is left shrinks, and each attempt is told anew', async () => {
    seen = [];
    // The first attempt takes its time to fail.
    answer = (response) => (seen.length === 1 ? void setTimeout(() => response.writeHead(503).end(), 60) : void response.end());
    const inner = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${origin.port}` } });
    const outer = await sidecar({ outbound: { listen: local }, upstreams: { orders: { endpoints: [`127.0.0.1:${inner.port}`], retry: {}, timeout: '5s' } } });
    assert.match(await get(outer.outbound, { 'X-Envoy-Expected-Rq-Timeout-Ms': '2000' }), /^HTTP\/1\.1 200 /);
    const [first, second] = seen.map((headers) => Number(headers['x-envoy-expected-rq-timeout-ms']));
    assert.ok(first! <= 2_000 && first! > 1_000, `first ${first}`);
    assert.ok(second! <= first! - 55, `first ${first}, second ${second}`);
    await Promise.all([inner, outer].map(({ process }) => process.stop()));
  });

  test('the last hop gives up when the first caller does, though it would wait longer itself', async () => {
    seen = [];
    answer = () => {};
    const inner = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${origin.port}`, timeout: '10s' } });
    const outer = await sidecar({ outbound: { listen: local }, upstreams: { orders: { endpoints: [`127.0.0.1:${inner.port}`], timeout: '10s' } } });
    assert.match(await get(outer.outbound, { 'X-Envoy-Expected-Rq-Timeout-Ms': '150' }), /^HTTP\/1\.1 504 [^]*deadline_exceeded/);
    const [line] = await inner.process.accessLog(1);
    assert.ok((line!['durationMs'] as number) < 400, JSON.stringify(line));
    await Promise.all([inner, outer].map(({ process }) => process.stop()));
  });

  test('a request that arrives too late is not sent', async () => {
    seen = [];
    const proxy = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${origin.port}` } });
    assert.match(await get(proxy.port, { 'X-Envoy-Expected-Rq-Timeout-Ms': '0' }), /^HTTP\/1\.1 504 [^]*deadline_exceeded/);
    const [line] = await proxy.process.accessLog(1);
    assert.deepEqual([line!['attempts'], line!['flags']], [0, 'UT']);
    assert.equal(seen.length, 0);
    await proxy.process.stop();
  });

  test('at the edge strangers are not believed, and what they said does not go on', async () => {
    answer = (response) => response.end();
    const config = { routes: [{ upstream: 'a', timeout: '5s' }], upstreams: { a: { endpoints: [`127.0.0.1:${origin.port}`], retry: {} } } };
    const spoofed = { 'X-Envoy-Expected-Rq-Timeout-Ms': '200', 'X-Envoy-Attempt-Count': '7', 'X-Request-Priority': 'critical' };
    for (const [trustedProxies, expected] of [[[], [true, undefined, undefined]], [['127.0.0.1'], [false, '7', 'critical']]] as const) {
      seen = [];
      const proxy = await gateway({ ...config, trustedProxies });
      await get(proxy.port, spoofed);
      const headers = seen[0]!;
      assert.match(await get(proxy.port, { 'X-Envoy-Expected-Rq-Timeout-Ms': '0' }), trustedProxies.length === 0 ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 504 /);
      assert.deepEqual([Number(headers['x-envoy-expected-rq-timeout-ms']) > 4_000, headers['x-envoy-attempt-count'], headers['x-request-priority']], expected);
      await proxy.process.stop();
    }
  });

  test('nothing is said where it is switched off', async () => {
    seen = [];
    answer = (response) => response.end();
    const proxy = await gateway({ routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${origin.port}`], propagateDeadline: false } } });
    await get(proxy.port);
    assert.equal(seen[0]!['x-envoy-expected-rq-timeout-ms'], undefined);
    await proxy.process.stop();
  });
});

describe('a client that is slow to send', () => {
  test('uses up neither timeout, and is not held against the endpoint that waits for it', async (context) => {
    let isBegun = (): void => {};
    const app = await httpOrigin((request, response) => {
      request.once('data', () => isBegun());
      void readBody(request).then((body) => response.end(`got ${body}`), () => {});
    });
    context.after(() => app.close());
    const endpoints = [`127.0.0.1:${app.port}`];
    const proxy = await gateway({
      routes: [{ upstream: 'a', mirror: { upstream: 'copies' } }],
      upstreams: {
        a: { endpoints, timeout: '500ms', attemptTimeout: '400ms', retry: {}, breaker: { volumeThreshold: 1, errorThreshold: 1 }, outlierDetection: { consecutiveErrors: 1 } },
        copies: { endpoints },
      },
    });
    const client = await RawClient.connect(proxy.port);
    const begun = new Promise<void>((resolve) => (isBegun = resolve));
    client.send('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\nConnection: close\r\n\r\n');
    client.send('a');
    await begun;
    await delay(systemClock, 900);
    assert.match(await client.send('b').untilClosed(), /^HTTP\/1\.1 200 [^]*got ab$/);
    assert.match(await get(proxy.port), /^HTTP\/1\.1 200 /);
    const [upload] = await proxy.process.accessLog(1);
    assert.deepEqual([upload!['attempts'], upload!['code']], [1, undefined]);
    assert.doesNotMatch(await proxy.metrics(), /^proxy_(breaker_transitions|outlier_ejections)_total\{/m);
    await proxy.process.stop();
  });
});

test('why an upstream failed is in the access log, and at level debug in the process’s own', async () => {
  const port = await refusedPort();
  const proxy = await gateway({ logLevel: 'debug', routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${port}`] } } });
  await get(proxy.port);
  const reason = `connect ECONNREFUSED 127.0.0.1:${port}`;
  const [line] = await proxy.process.accessLog(1);
  assert.deepEqual([line!['code'], line!['reason']], ['upstream_connect_failed', reason]);
  const told = await proxy.process.logged('a request failed');
  assert.deepEqual([told['code'], told['reason'], 'cause' in told], ['upstream_connect_failed', reason, false]);
  await proxy.process.stop();
});

describe('an endpoint that hangs', () => {
  const policies: readonly (readonly [name: string, policy: object])[] = [
    ['a breaker', { breaker: { volumeThreshold: 2, resetTimeout: '60s' } }],
    ['outlier detection', { outlierDetection: { consecutiveErrors: 2 } }],
  ];
  for (const [name, policy] of policies) {
    test(`is found out by ${name} though only a timeout of all attempts is configured`, async (context) => {
      const hung = await tcpOrigin((socket) => void socket.resume());
      const well = await httpOrigin((_request, response) => response.end());
      context.after(() => Promise.all([hung.close(), well.close()]));
      const proxy = await gateway({ routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${hung.port}`, `127.0.0.1:${well.port}`], timeout: '400ms', ...policy, ...roundRobin } } });
      const statuses: string[] = [];
      for (let index = 0; index < 12; index++) statuses.push((await get(proxy.port)).slice(9, 12));
      assert.equal(statuses.filter((status) => status === '504').length, 2, statuses.join(' '));
      assert.equal(statuses.filter((status) => status === '200').length, 10, statuses.join(' '));
      await proxy.process.stop();
    });
  }
});

describe('a client that leaves', () => {
  // A connection that ends politely may be a half-close: each hop waits 20 ms, looked at every 10, before it takes that for leaving.
  const ways: readonly (readonly [name: string, withinMs: number, leave: (client: RawClient) => void])[] = [
    ['by a reset', 50, ({ socket }) => void socket.resetAndDestroy()],
    ['politely', 80, (client) => client.close()],
  ];
  for (const [name, withinMs, leave] of ways) {
    test(`${name}: the work two proxies on ends within ${withinMs} ms`, async (context) => {
      const asked: (() => void)[] = [];
      const aborted: ((at: number) => void)[] = [];
      const origin = await httpOrigin((request) => {
        request.socket.once('close', () => aborted.shift()?.(performance.now()));
        asked.shift()?.();
      });
      context.after(() => origin.close());
      const inner = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${origin.port}` } });
      const outer = await gateway({ routes: [{ upstream: 'orders' }], upstreams: { orders: { endpoints: [`127.0.0.1:${inner.port}`], retry: {}, hedge: { delay: '10s' } } } });
      const times: number[] = [];
      for (let round = 0; round < 5; round++) {
        const [isAsked, isAborted] = [new Promise<void>((resolve) => asked.push(resolve)), new Promise<number>((resolve) => aborted.push(resolve))];
        const client = (await RawClient.connect(outer.port)).send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
        await isAsked;
        const left = performance.now();
        leave(client);
        times.push((await isAborted) - left);
      }
      // The median: the machine may be busy with something else for once.
      assert.ok(times.sort((a, b) => a - b)[2]! < withinMs, `${times.join(', ')} ms`);
      for (const proxy of [inner, outer]) assert.equal((await proxy.process.accessLog(5))[0]!['code'], 'client_closed');
      await Promise.all([inner, outer].map(({ process }) => process.stop()));
    });
  }
});

describe('retries over sockets', () => {
  test('a POST is tried again when no connection could be made, and not when one broke', async () => {
    const bodies: string[] = [];
    const good = await httpOrigin((request, response) => void readBody(request).then((body) => response.end(String(bodies.push(body)))));
    let broken = 0;
    const breaking = await tcpOrigin((socket) => socket.once('data', () => (broken++, socket.resetAndDestroy())));
    const refused = await refusedPort();
    const upstream = (port: number): object => ({ endpoints: [`127.0.0.1:${port}`, `127.0.0.1:${good.port}`], retry: {}, ...roundRobin });
    const proxy = await gateway({
      routes: [{ match: { path: '/refused' }, upstream: 'refused' }, { match: { path: '/broken' }, upstream: 'broken' }, { match: { path: '/keyed' }, upstream: 'broken', retry: { idempotencyKey: true } }],
      upstreams: { refused: upstream(refused), broken: upstream(breaking.port) },
    });
    const post = (path: string): Promise<string> => exchangeRaw(proxy.port, `POST ${path} HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: "1"\r\nContent-Length: 5\r\nConnection: close\r\n\r\norder`);
    for (let index = 0; index < 4; index++) assert.match(await post('/refused'), /^HTTP\/1\.1 200 /);
    assert.deepEqual(bodies, Array(4).fill('order'));
    const outcomes = [await post('/broken'), await post('/broken'), await post('/broken'), await post('/broken')].map((text) => text.slice(9, 12));
    assert.deepEqual(outcomes.sort(), ['200', '200', '502', '502']);
    assert.equal(broken, 2, 'each of them was sent once');
    for (let index = 0; index < 4; index++) assert.match(await post('/keyed'), /^HTTP\/1\.1 200 /);
    assert.equal(broken, 4);
    await proxy.process.stop();
    await Promise.all([good.close(), breaking.close()]);
  });

  test('two routes to one upstream share its budget, but for a route that has its own', async () => {
    const bad = await httpOrigin((_request, response) => response.writeHead(503).end());
    const budget = { ratio: 0, minPerSecond: 0.5, window: '20s' };
    const proxy = await gateway({
      routes: [{ match: { path: '/one' }, upstream: 'a' }, { match: { path: '/two' }, upstream: 'a', retry: { attempts: 2 } }, { match: { path: '/own' }, upstream: 'a', retry: { budget } }],
      upstreams: { a: { endpoints: [`127.0.0.1:${bad.port}`], retry: { budget } } },
    });
    for (const path of ['/one', '/two', '/own']) for (let index = 0; index < 8; index++) await get(proxy.port, {}, path);
    const attempts = (await proxy.process.accessLog(24)).map(({ attempts: count }) => count as number);
    const retries = [0, 8, 16].map((start) => attempts.slice(start, start + 8).reduce((sum, count) => sum + count - 1, 0));
    assert.deepEqual(retries, [8, 2, 8], 'ten for the two, ten for the third');
    await proxy.process.stop();
    await bad.close();
  });

  test('the connection of an answer that was dropped is used again', async () => {
    let connections = 0;
    let requests = 0;
    const origin = await httpOrigin((_request, response) => {
      // A head, and then a body in two pieces: the proxy sees the answer before its end.
      if (++requests % 2 === 0) return response.end('good');
      response.writeHead(503).write('not ');
      setImmediate(() => response.end('now'));
    });
    origin.server.on('connection', () => connections++);
    const proxy = await gateway({ routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${origin.port}`], retry: { backoff: { base: '40ms', max: '40ms' } } } } });
    for (let index = 0; index < 10; index++) assert.match(await get(proxy.port), /good$/);
    assert.ok(connections <= 5, `${connections} connections for 20 requests`);
    await proxy.process.stop();
    await origin.close();
  });
});

describe('hedges over sockets', () => {
  test('the slow endpoint’s request is aborted the moment the other answers, and it is not blamed', async () => {
    let isAborted: ((at: number) => void) | undefined;
    const abort = new Promise<number>((resolve) => (isAborted = resolve));
    const seen: (string | undefined)[] = [];
    // Whichever is asked first is the slow one.
    const origins = await Promise.all([0, 1].map(() => httpOrigin((request, response) => {
      seen.push(request.headers['x-envoy-attempt-count'] as string | undefined);
      if (seen.length === 1) void once(request.socket, 'close').then(() => isAborted!(performance.now()));
      else response.end(`fast ${String(request.socket.localPort)}`);
    })));
    const proxy = await sidecar({
      outbound: { listen: local },
      upstreams: { orders: { endpoints: origins.map(({ port }) => `127.0.0.1:${port}`), hedge: { delay: '30ms' }, breaker: { volumeThreshold: 1, errorThreshold: 1 }, ...roundRobin } },
    });
    const answer = await get(proxy.outbound);
    assert.match(answer, /^HTTP\/1\.1 200 [^]*fast \d+$/);
    const answeredAt = performance.now();
    assert.ok((await abort) < answeredAt + 50);
    assert.deepEqual(seen, [undefined, '2']);
    const metrics = await proxy.metrics();
    assert.match(metrics, /^proxy_hedges_total\{upstream="orders",outcome="won"\} 1$/m);
    assert.doesNotMatch(metrics, /^proxy_breaker_transitions_total\{/m);
    const [line] = await proxy.process.accessLog(1);
    assert.deepEqual([line!['attempts'], line!['endpoint']], [2, `127.0.0.1:${answer.split(' ').at(-1)}`]);
    await proxy.process.stop();
    await Promise.all(origins.map((origin) => origin.close()));
  });
});

describe('limits of a sidecar', () => {
  test('a local rate limit holds for callers of the application', async () => {
    const app = await httpOrigin((_request, response) => response.end('app'));
    const proxy = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${app.port}`, rateLimit: { max: 2, timeWindow: '60s' } } });
    const answers = [await get(proxy.port), await get(proxy.port), await get(proxy.port)];
    assert.deepEqual(answers.map((text) => text.slice(9, 12)), ['200', '200', '429']);
    assert.match(answers[2]!, /\r\nRetry-After: \d+\r\n/i);
    const lines = await proxy.process.accessLog(3);
    assert.equal(lines[2]!['flags'], 'RL');
    await proxy.process.stop();
    await app.close();
  });

  for (const [side, configOf] of [
    ['inbound', (port: number, policy: object) => ({ inbound: { listen: local, app: `127.0.0.1:${port}`, ...policy } })],
    ['outbound', (port: number, policy: object) => ({ outbound: { listen: local }, upstreams: { orders: { endpoints: [`127.0.0.1:${port}`], ...policy } } })],
  ] as const) {
    test(`${side}: beyond the adaptive limit requests are shed by priority, and shown`, async () => {
      const waiting: ServerResponse[] = [];
      const app = await httpOrigin((_request, response) => void waiting.push(response));
      const proxy = await sidecar(configOf(app.port, { adaptiveConcurrency: { initialLimit: 4, priority: { levels: { high: 1, low: 0.5 }, default: 'low' } } }));
      const port = side === 'inbound' ? proxy.port : proxy.outbound;
      const held = [get(port), get(port)];
      while (waiting.length < 2) await new Promise((resolve) => setImmediate(resolve));
      const shed = await get(port);
      assert.match(shed, /^HTTP\/1\.1 503 [^]*overloaded/);
      assert.match(shed, /\r\nRetry-After: 1\r\n/);
      const high = get(port, { 'X-Request-Priority': 'high' });
      while (waiting.length < 3) await new Promise((resolve) => setImmediate(resolve));
      const scope = side === 'inbound' ? 'inbound' : 'upstream orders';
      const metrics = await proxy.metrics();
      assert.ok(metrics.includes(`proxy_concurrency_limit{scope="${scope}"} 4\n`), metrics);
      assert.ok(metrics.includes(`proxy_concurrency_in_flight{scope="${scope}"} 3\n`));
      assert.ok(metrics.includes(`proxy_shed_total{scope="${scope}",priority="low"} 1\n`));
      assert.equal((await proxy.process.accessLog(1))[0]!['flags'], 'OM');
      waiting.forEach((response) => response.end());
      for (const text of await Promise.all([...held, high])) assert.match(text, /^HTTP\/1\.1 200 /);
      await proxy.process.stop();
      await app.close();
    });
  }

  test('a route’s priority is told to the sidecar behind, which sheds by it', async () => {
    const waiting: ServerResponse[] = [];
    const app = await httpOrigin((_request, response) => void waiting.push(response));
    const inner = await sidecar({ inbound: { listen: local, app: `127.0.0.1:${app.port}`, adaptiveConcurrency: { initialLimit: 4, priority: { levels: { high: 1, low: 0.25 }, default: 'high' } } } });
    const outer = await gateway({ routes: [{ upstream: 'orders' }, { match: { path: '/report' }, upstream: 'orders', priority: 'low' }], upstreams: { orders: { endpoints: [`127.0.0.1:${inner.port}`] } } });
    const held = get(outer.port);
    while (waiting.length < 1) await new Promise((resolve) => setImmediate(resolve));
    assert.match(await get(outer.port, {}, '/report'), /^HTTP\/1\.1 503 /);
    const other = get(outer.port);
    while (waiting.length < 2) await new Promise((resolve) => setImmediate(resolve));
    waiting.forEach((response) => response.end());
    await Promise.all([held, other]);
    await Promise.all([inner, outer].map(({ process }) => process.stop()));
    await app.close();
  });
});

describe('contradictions', () => {
  const cases: readonly (readonly [name: string, upstream: object, route: object, expected: RegExp])[] = [
    ['both ways to say when to hedge', { hedge: { percentile: 95, delay: '50ms' } }, {}, /upstreams\.a\.hedge: exactly one of percentile and delay is needed/],
    ['a hedge after the end', { timeout: '1s' }, { hedge: { delay: '1s' } }, /routes\[0\]\.hedge\.delay: no hedge is ever sent: a request is given up after 1000ms/],
    ['a retry after what never happens', { retry: { on: ['timeout'] } }, {}, /upstreams\.a\.retry\.on: "timeout" never happens without attemptTimeout/],
    ['a level that does not exist', { adaptiveConcurrency: { priority: { levels: { high: 1 }, default: 'high' } } }, { priority: 'low' }, /routes\[0\]\.priority: there is no level "low"; there is high/],
    ['a default that is no level', { adaptiveConcurrency: { priority: { levels: { high: 1 }, default: 'low' } } }, {}, /upstreams\.a\.adaptiveConcurrency\.priority\.default: is none of the levels/],
    ['bounds the wrong way round', { adaptiveConcurrency: { minLimit: 50, maxLimit: 40 } }, {}, /upstreams\.a\.adaptiveConcurrency\.minLimit: is higher than maxLimit/],
    ['an unknown condition', { retry: { on: ['sometimes'] } }, {}, /upstreams\.a\.retry\.on\[0\]: /],
  ];
  for (const [name, upstream, route, expected] of cases) {
    test(`${name}: named with its path, and nothing is started`, async () => {
      const config = { listen: local, admin: local, routes: [{ upstream: 'a', ...route }], upstreams: { a: { endpoints: ['127.0.0.1:1'], ...upstream } } };
      const { code, stderr } = await new TestProcess('gateway/main.js', config, ['--check']).exited;
      assert.equal(code, 64, stderr);
      assert.match(stderr, expected);
    });
  }
});
