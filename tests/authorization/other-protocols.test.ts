import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { grpcClient, grpcOrigin, Metadata, status, unary } from '../support/grpc.js';
import { tcpOrigin } from '../support/origin.js';
import { RawClient } from '../support/raw-client.js';
import { run } from './placed.js';

const listen = { host: '127.0.0.1', port: 0 };

describe('a call of gRPC that is refused', () => {
  const guarded = { authorization: { rules: [{ name: 'unary', action: 'allow', methods: ['POST'], paths: [{ exact: '/test.Echo/Unary' }], headers: { 'x-tenant': 'eu' } }] } };
  const placements = {
    gateway: ['gateway', 'listen', (app: number) => ({ listen: { ...listen, http2: true }, routes: [{ upstream: 'app', ...guarded }], upstreams: { app: { endpoints: [`127.0.0.1:${app}`], protocol: 'h2' } } })],
    sidecar: ['sidecar', 'inbound', (app: number) => ({ service: 'inventory', inbound: { listen: { ...listen, http2: true }, app: `127.0.0.1:${app}`, protocol: 'h2', ...guarded } })],
  } as const;
  for (const [name, [kind, listener, config]] of Object.entries(placements)) {
    test(`ends with PERMISSION_DENIED: ${name}`, async (context) => {
      let calls = 0;
      const app = await grpcOrigin({
        Unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
          calls++;
          done(null, call.request);
        },
      });
      context.after(() => app.close());
      const { process, port } = await run(context, kind, listener, config(app.port));
      const client = grpcClient(port, 'inventory');
      context.after(() => client.close());
      const metadata = new Metadata();
      metadata.set('x-tenant', 'eu');
      assert.deepEqual(await unary(client, 'hello', { metadata }).then(({ code, message }) => [code, message]), [status.OK, 'hello']);
      const refused = await unary(client, 'hello');
      assert.deepEqual([refused.code, refused.details], [status.PERMISSION_DENIED, 'access_denied: The caller may not do this.']);
      assert.equal((await unary(client, 'hello', { metadata, path: '/test.Echo/Secret' })).code, status.PERMISSION_DENIED);
      assert.equal(calls, 1);
      assert.deepEqual((await process.accessLog(3)).map(({ grpcStatus, authzRule }) => [grpcStatus, authzRule]), [[0, undefined], [7, 'default'], [7, 'default']]);
    });
  }
});

describe('a TCP connection that is refused', () => {
  const placements = { gateway: { listen }, sidecar: { service: 'orders' } } as const;
  for (const [kind, config] of Object.entries(placements) as [keyof typeof placements, object][]) {
    const start = async (context: Parameters<typeof run>[0], authorization: object) => {
      let opened = 0;
      const database = await tcpOrigin((socket) => {
        opened++;
        socket.pipe(socket);
      });
      context.after(() => database.close());
      const running = await run(context, kind, 'tcp-db', { ...config, tcp: [{ listen, upstream: 'db', authorization }], upstreams: { db: { endpoints: [`127.0.0.1:${database.port}`] } } });
      return { ...running, opened: () => opened };
    };

    test(`is closed before anybody is sent to: ${kind}`, async (context) => {
      const { process, port, metrics, opened } = await start(context, { rules: [{ name: 'near', action: 'allow', from: { addresses: ['10.0.0.0/8'] } }] });
      const socket = connect(port, '127.0.0.1').on('error', () => {});
      socket.write('hello');
      await new Promise((resolve) => socket.on('close', resolve));
      assert.deepEqual([opened(), socket.bytesRead], [0, 0]);
      const [line] = await process.accessLog(1);
      assert.deepEqual([line!['code'], line!['flags'], line!['authz'], line!['authzRule'], line!['attempts']], ['access_denied', 'UAEX', 'refused', 'default', 0]);
      const text = await metrics();
      assert.match(text, /^proxy_authorization_total\{scope="tcp tcp-db",decision="denied",rule="default"\} 1$/m);
      assert.match(text, /^proxy_tcp_connections_total\{listener="tcp-db",upstream="",outcome="access_denied"\} 1$/m);
    });

    test(`one that is let in is not, nor in a dry run: ${kind}`, async (context) => {
      const { process, port } = await start(context, { default: 'allow', rules: [{ name: 'far', action: 'deny', from: { notAddresses: ['127.0.0.0/8'] } }, { name: 'tried', action: 'deny', from: { addresses: ['127.0.0.1'] }, dryRun: true }] });
      const client = await RawClient.connect(port);
      await client.send('hello').until((text) => text === 'hello');
      client.socket.end();
      await client.untilClosed();
      const [line] = await process.accessLog(1);
      assert.deepEqual([line!['code'], line!['authz'], line!['authzRule'], line!['sentBytes']], [undefined, 'would refuse', 'tried', 5]);
    });
  }
});
