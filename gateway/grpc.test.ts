import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { connect } from 'node:http2';
import { describe, test } from 'node:test';
import { TestAuthority } from '../tests/support/certificates.js';
import { grpcClient, grpcOrigin, status, unary } from '../tests/support/grpc.js';
import { portIn, TestProcess } from '../tests/support/process.js';

describe('gRPC through the gateway', () => {
  test('goes over the same port as everything else, under the policies of its route', async () => {
    let calls = 0;
    const origin = await grpcOrigin({
      Unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        if (++calls === 1) done({ code: status.UNAVAILABLE, details: 'not yet' });
        else done(null, Buffer.from(`echo ${call.request.toString()}`));
      },
    });
    const gateway = new TestProcess('gateway/main.js', {
      listen: { port: 0, http2: true }, admin: { port: 0 },
      routes: [{ match: { path: '/test.Echo' }, upstream: 'echo', retry: { on: ['unavailable'] }, rateLimit: { max: 2, timeWindow: '60s', key: 'ip' } }],
      upstreams: { echo: { endpoints: [`127.0.0.1:${origin.port}`], protocol: 'auto' } },
    });
    const ready = await gateway.logged('ready');
    const client = grpcClient(portIn(ready, 'listen'), 'shop');
    const { code, message } = await unary(client, 'hello');
    assert.deepEqual([code, message, calls], [status.OK, 'echo hello', 2]);
    assert.equal((await unary(client, 'hello')).code, status.OK);
    const { code: limited, details } = await unary(client, 'hello');
    assert.deepEqual([limited, details.split(':')[0]], [status.UNAVAILABLE, 'rate_limited']);
    const [, , refused] = await gateway.accessLog(3);
    assert.deepEqual([refused!['status'], refused!['grpcStatus'], refused!['code']], [200, 14, 'rate_limited']);
    assert.match(await (await fetch(`http://127.0.0.1:${portIn(ready, 'listen')}/elsewhere`)).text(), /"code":"no_route"/);
    client.close();
    assert.equal((await gateway.stop()).code, 0);
    origin.close();
  });

  test('a client that floods is closed, which the log and the metrics tell', async () => {
    const authority = await TestAuthority.create();
    const files = await authority.issue('shop', { dns: ['shop.test'] });
    const gateway = new TestProcess('gateway/main.js', {
      listen: { port: 0, http2: true, tls: files }, admin: { port: 0 }, limits: { http2: { resetBurst: 5, resetsPerSecond: 1 } },
      routes: [{ match: { path: '/' }, upstream: 'nowhere' }], upstreams: { nowhere: { endpoints: ['127.0.0.1:1'], connectTimeout: '5s' } },
    });
    const ready = await gateway.logged('ready');
    const session = connect(`https://127.0.0.1:${portIn(ready, 'listen')}`, { servername: 'shop.test', ca: readFileSync(authority.ca) });
    session.on('error', () => {});
    const closed = new Promise((resolve) => session.once('close', resolve));
    session.once('connect', () => {
      for (let index = 0; index < 20; index++) {
        const stream = session.request({ ':path': '/', ':authority': 'shop' });
        stream.on('error', () => {});
        stream.once('ready', () => {});
        stream.close(8);
      }
    });
    await closed;
    assert.deepEqual([(await gateway.logged('a connection that floods was closed'))['reason']], ['resets']);
    const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    assert.match(metrics, /^proxy_http2_floods_total\{listener="edge",reason="resets"\} 1$/m);
    assert.equal((await gateway.stop()).code, 0);
    authority.remove();
  });

  test('contradictions are named', async () => {
    const { code, stderr } = await new TestProcess('gateway/main.js', {
      listen: { port: 0, http2: 'fastify' },
      routes: [{ match: { path: '/' }, upstream: 'a', retry: { on: ['unavailable'] } }],
      upstreams: { a: { endpoints: ['127.0.0.1:1'], retry: { on: ['internal', 'reset'] } }, b: { endpoints: ['127.0.0.1:1'], protocol: 'h3' } },
    }).exited;
    assert.equal(code, 64);
    for (const expected of [/listen\.http2: fastify needs tls/, /routes\[0\]\.retry\.on: unavailable: gRPC does not reach/, /upstreams\.a\.retry\.on: internal: gRPC/, /upstreams\.b\.protocol/]) assert.match(stderr, expected);
  });
});
