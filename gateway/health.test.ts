import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { TestDnsServer } from '../tests/support/dns-server.js';
import { httpOrigin, refusedPort, type Origin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';

const listen = { host: '127.0.0.1', port: 0 };

/** An origin that names itself, whose health and answers the test decides. */
class Peer {
  health = 200;
  status = 200;
  requests = 0;
  checks = 0;
  readonly held: ServerResponse[] = [];
  holds = false;
  origin!: Origin;

  static async start(name: string): Promise<Peer> {
    const peer = new Peer();
    peer.origin = await httpOrigin((request, response) => {
      if (request.url === '/healthz') {
        peer.checks++;
        response.writeHead(peer.health).end();
        return;
      }
      peer.requests++;
      if (peer.holds) peer.held.push(response);
      else response.writeHead(peer.status).end(name);
    });
    return peer;
  }

  get address(): string {
    return `127.0.0.1:${this.origin.port}`;
  }
}

interface Gateway {
  readonly process: TestProcess;
  readonly ask: () => Promise<{ status: number; body: string }>;
  readonly metrics: () => Promise<string>;
}

async function start(upstream: object, top: object = {}): Promise<Gateway> {
  const process = new TestProcess('gateway/main.js', { listen, admin: listen, routes: [{ upstream: 'orders' }], upstreams: { orders: { balance: { algorithm: 'round-robin' }, ...upstream } }, ...top });
  const ready = await process.logged('ready');
  return {
    process,
    async ask() {
      const response = await fetch(`http://127.0.0.1:${portIn(ready, 'listen')}/`);
      return { status: response.status, body: await response.text() };
    },
    metrics: async () => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text(),
  };
}

/** Who answers the next `count` requests. */
async function answers({ ask }: Gateway, count: number): Promise<string[]> {
  const all: string[] = [];
  for (let index = 0; index < count; index++) all.push((await ask()).body);
  return [...new Set(all)].sort();
}

describe('endpoints that are watched', () => {
  let one: Peer;
  let two: Peer;
  before(async () => {
    [one, two] = await Promise.all([Peer.start('one'), Peer.start('two')]);
  });
  after(() => Promise.all([one, two].map(({ origin }) => origin.close())));

  test('an endpoint whose health path turns to 500 leaves the rotation, and returns when it turns back', async () => {
    const gateway = await start({ endpoints: [one.address, two.address], healthCheck: { path: '/healthz', interval: '20ms', unhealthyThreshold: 2, healthyThreshold: 2 } });
    assert.deepEqual(await answers(gateway, 4), ['one', 'two']);
    one.health = 500;
    const left = await gateway.process.logged('health checks fail: the endpoint is left out');
    assert.deepEqual([left['endpoint'], left['reason']], [one.address, 'it answered 500']);
    assert.deepEqual(await answers(gateway, 6), ['two']);
    one.health = 200;
    await gateway.process.logged('health checks pass: the endpoint is used again');
    assert.deepEqual(await answers(gateway, 6), ['one', 'two']);
    const metrics = await gateway.metrics();
    assert.match(metrics, new RegExp(`^proxy_health_checks_total\\{upstream="orders",endpoint="${one.address}",result="status"\\} [1-9]`, 'm'));
    assert.equal((await gateway.process.stop()).code, 0);
  });

  test('checks end when draining begins, while a request is still in flight', async () => {
    const healthCheck = { path: '/healthz', interval: '10ms' };
    const gateway = await start({ endpoints: [one.address], healthCheck });
    const other = await start({ endpoints: [two.address], healthCheck });
    one.holds = true;
    const answer = gateway.ask();
    while (one.held.length === 0) await new Promise((resolve) => setImmediate(resolve));
    gateway.process.child.kill('SIGTERM');
    await gateway.process.logged('draining');
    const begun = one.checks;
    // While one proxy checks nothing, another does: that is how long "nothing" lasts here.
    for (const until = two.checks + 10; two.checks < until; ) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(one.checks - begun <= 1, `${one.checks - begun} checks while draining`);
    one.holds = false;
    one.held.splice(0).forEach((response) => response.end('late'));
    assert.equal((await answer).body, 'late');
    assert.equal((await gateway.process.exited).code, 0);
    await other.process.stop();
  });

  test('an endpoint that fails five times in a row is ejected, and stays out longer the second time', async () => {
    const gateway = await start({ endpoints: [one.address, two.address], outlierDetection: { interval: '1s', baseEjectionTime: '500ms' } });
    one.status = 503;
    const before = one.requests;
    for (let index = 0; index < 30 && one.requests < before + 5; index++) await gateway.ask();
    const ejected = await gateway.process.logged('outlier: the endpoint is ejected');
    assert.deepEqual([ejected['endpoint'], ejected['reason'], ejected['forMs']], [one.address, 'consecutive_5xx', 500]);
    await gateway.process.logged('outlier: the endpoint is used again');
    let second: Record<string, unknown> | undefined;
    void gateway.process.logged('outlier: the endpoint is ejected', 2).then((line) => (second = line));
    while (second === undefined) await gateway.ask();
    assert.equal(second['forMs'], 1_000);
    one.status = 200;
    await gateway.process.logged('outlier: the endpoint is used again', 2);
    assert.deepEqual(await answers(gateway, 6), ['one', 'two']);
    assert.match(await gateway.metrics(), new RegExp(`^proxy_outlier_ejections_total\\{upstream="orders",endpoint="${one.address}",reason="consecutive_5xx"\\} 2$`, 'm'));
    assert.match(await gateway.metrics(), /^proxy_outlier_ejected_endpoints\{upstream="orders"\} 0$/m);
    await gateway.process.stop();
  });

  test('an upstream is asked no more than its limits allow, whatever its endpoints would take', async () => {
    const gateway = await start({ endpoints: [one.address, two.address], limits: { maxRequests: 3 } });
    const peers = [one, two];
    for (const peer of peers) peer.holds = true;
    const before = one.requests + two.requests;
    const all = Array.from({ length: 10 }, () => gateway.ask());
    const refused: { status: number; body: string }[] = [];
    for (const answer of all) void answer.then((one) => one.status === 503 && refused.push(one));
    while (refused.length < 7 || one.held.length + two.held.length < 3) await new Promise((resolve) => setImmediate(resolve));
    assert.match(await gateway.metrics(), /^proxy_upstream_limited_requests\{upstream="orders"\} 3$/m);
    for (const peer of peers) {
      peer.holds = false;
      peer.held.splice(0).forEach((response) => response.end('served'));
    }
    const outcomes = await Promise.all(all);
    assert.equal(outcomes.filter(({ body }) => body === 'served').length, 3);
    assert.ok(refused.every(({ body }) => body.includes('"code":"upstream_overloaded"')));
    assert.equal(one.requests + two.requests - before, 3);
    assert.match(await gateway.metrics(), /^proxy_upstream_limit_refusals_total\{upstream="orders",limit="requests"\} 7$/m);
    const { stdout } = await gateway.process.stop();
    assert.equal(stdout.split('"flags":"UO"').length - 1, 7);
  });

  test('retries at a time are capped, and the outcome then stands as it is', async () => {
    const gateway = await start({ endpoints: [one.address, two.address], limits: { maxRetries: 0 }, retry: { attempts: 2, on: [503] } });
    one.status = 503;
    const outcomes = [await gateway.ask(), await gateway.ask()].map(({ status }) => status);
    one.status = 200;
    assert.deepEqual(outcomes.sort(), [200, 503]);
    assert.match(await gateway.metrics(), /^proxy_upstream_limit_refusals_total\{upstream="orders",limit="retries"\} 1$/m);
    await gateway.process.stop();
  });
});

describe('endpoints that are discovered', () => {
  test('a file is followed, and a bad one named with all that is wrong while the last good one serves', async () => {
    const [one, two] = await Promise.all([Peer.start('one'), Peer.start('two')]);
    const gateway = await start({ discovery: { file: 'placeholder' } });
    assert.deepEqual(await gateway.ask().then(({ status, body }) => [status, /"code":"no_endpoint"/.test(body)]), [503, true], 'until something is found there is nobody to ask');
    const file = join(gateway.process.directory, 'endpoints.yaml');
    const write = (text: string): void => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    write(`- ${one.address}\n`);
    gateway.process.reload({ listen, admin: listen, routes: [{ upstream: 'orders' }], upstreams: { orders: { discovery: { file } } } });
    await gateway.process.logged('reloaded');
    await gateway.process.logged('discovery: the endpoints have changed');
    assert.deepEqual(await answers(gateway, 3), ['one']);
    write(`- ${two.address}\n- nowhere\n- { address: "${two.address}", weight: -1 }\n`);
    const problems = await gateway.process.logged('discovery failed; what was found last stays', 2);
    assert.match(JSON.stringify(problems['problems']), /\[1\]: expected an address.*\[2\]\.weight/);
    assert.deepEqual(await answers(gateway, 3), ['one']);
    write(`- ${two.address}\n`);
    await gateway.process.logged('discovery: the endpoints have changed', 2);
    assert.deepEqual(await answers(gateway, 3), ['two']);
    // Another version of the configuration takes over what was found, with its connections.
    gateway.process.reload({ listen, admin: listen, routes: [{ upstream: 'orders', match: { path: '/' }, timeout: '3s' }], upstreams: { orders: { discovery: { file } } } });
    await gateway.process.logged('reloaded', 2);
    assert.deepEqual(await answers(gateway, 3), ['two']);
    assert.equal((await gateway.process.stop()).code, 0);
    await Promise.all([one, two].map(({ origin }) => origin.close()));
  });

  test('DNS records are followed, and a resolver that fails takes nothing away', async () => {
    const dns = await TestDnsServer.start();
    const peer = await Peer.start('one');
    dns.setServices('_http._tcp.orders.test', [{ target: 'a.test', port: peer.origin.port }, { target: 'b.test', port: await refusedPort(), priority: 9 }]);
    dns.set('A', 'a.test', ['127.0.0.1']);
    dns.set('A', 'b.test', ['127.0.0.1']);
    const gateway = await start({ discovery: { dns: { name: '_http._tcp.orders.test', type: 'srv', resolver: [`127.0.0.1:${dns.port}`], refreshMin: '50ms', refreshMax: '100ms' } }, retry: { attempts: 2 } });
    await gateway.process.logged('discovery: the endpoints have changed');
    assert.deepEqual(await gateway.ask(), { status: 200, body: 'one' });
    dns.rcode = 'NXDOMAIN';
    const failed = await gateway.process.logged('discovery failed; what was found last stays');
    assert.deepEqual([failed['result'], failed['endpoints']], ['not_found', 2]);
    assert.deepEqual(await gateway.ask(), { status: 200, body: 'one' });
    const metrics = await gateway.metrics();
    assert.match(metrics, /^proxy_discovery_refreshes_total\{upstream="orders",source="dns",result="not_found"\} [1-9]/m);
    assert.match(metrics, /^proxy_discovery_endpoints\{upstream="orders",source="dns"\} 2$/m);
    dns.rcode = 'NOERROR';
    await gateway.process.logged('discovery works again');
    assert.equal((await gateway.process.stop()).code, 0);
    await dns.close();
    await peer.origin.close();
  });
});

test('contradictions are named by their paths', async () => {
  const { code, stderr } = await new TestProcess('gateway/main.js', {
    listen,
    routes: [{ upstream: 'a' }],
    upstreams: {
      a: {},
      b: { discovery: { dns: { name: 'b.test', port: 80, type: 'srv' } } },
      c: { discovery: { dns: { name: 'c.test', port: 443 } }, tls: {} },
      d: { discovery: {} },
      e: { endpoints: [], healthCheck: { method: 'HEAD' } },
      f: { endpoints: [], healthCheck: { path: '/', expectedStatuses: ['300-200'] } },
      g: { endpoints: [], outlierDetection: { baseEjectionTime: '10m' } },
    },
  }, ['--check']).exited;
  assert.equal(code, 64);
  for (const expected of [
    /upstreams\.a\.endpoints: is missing; endpoints, discovery or both are needed/,
    /upstreams\.b\.discovery\.dns\.port: is needed for type a, and may not be there for type srv/,
    /upstreams\.c\.tls\.serverName: is missing/,
    /upstreams\.d\.discovery: exactly one of dns and file is needed/,
    /upstreams\.e\.healthCheck\.path: is missing/,
    /upstreams\.f\.healthCheck\.expectedStatuses\[0\]: expected a status such as 200 or a range/,
    /upstreams\.g\.outlierDetection\.maxEjectionTime: must not be less than baseEjectionTime/,
  ]) assert.match(stderr, expected);
});
