import assert from 'node:assert/strict';
import type { ServerDuplexStream, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import { after, before, describe, test, type TestContext } from 'node:test';
import { TestAuthority } from '../support/certificates.js';
import { echoService, grpcClient, grpcOrigin, unary } from '../support/grpc.js';
import { serverOf, startProxy, type Identity, type MeshProxy } from '../support/mesh-pair.js';
import { tcpOrigin } from '../support/origin.js';
import { exchangeRaw, RawClient } from '../support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 } as const;
const orders = 'spiffe://mesh.test/ns/default/sa/orders';
const inventory = 'spiffe://mesh.test/ns/default/sa/inventory';

let authority: TestAuthority;
let client: Identity;
let server: Identity;

before(async () => {
  authority = await TestAuthority.create();
  client = await authority.identity('orders');
  server = await authority.identity('inventory');
});
after(() => authority.remove());

const identityOf = ({ cert, key, bundle }: Identity): Identity => ({ cert, key, bundle });

describe('gRPC between two sidecars of the mesh', () => {
  test('goes through unary and streaming, and the application is told who called', async (context) => {
    let told: unknown;
    const app = await grpcOrigin({
      Unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        told = call.metadata.get('x-forwarded-client-cert');
        done(null, Buffer.from(`echo ${call.request.toString()}`));
      },
      Chat(call: ServerDuplexStream<Buffer, Buffer>) {
        call.on('data', (part: Buffer) => call.write(Buffer.from(`re ${part.toString()}`)));
        call.on('end', () => call.end());
      },
    });
    context.after(() => app.close());
    const far = await serverOf(context, app.port, server, { inbound: { listen: { ...listen, http2: 'engine' }, protocol: 'auto' } });
    const near = await startProxy(context, 'sidecar', {
      service: 'orders', identity: identityOf(client), outbound: { listen: { ...listen, http2: 'engine' } },
      upstreams: { inventory: { endpoints: [{ address: `127.0.0.1:${far.port('inbound')}`, identity: inventory }], protocol: 'auto' } },
    });
    const channel = grpcClient(near.port('outbound'), 'inventory');
    context.after(() => channel.close());
    const { code, message } = await unary(channel, 'hello');
    assert.deepEqual([code, message], [0, 'echo hello']);
    assert.deepEqual(told, [`By=${inventory};URI=${orders}`]);
    const bytes = (value: Buffer): Buffer => value;
    const chat = channel.makeBidiStreamRequest(echoService.Chat.path, bytes, bytes);
    chat.write(Buffer.from('a'));
    const answers: string[] = [];
    for await (const answer of chat) {
      answers.push(String(answer));
      if (answers.length === 1) chat.write(Buffer.from('b'));
      else chat.end();
    }
    assert.deepEqual(answers, ['re a', 're b']);
    assert.equal((await far.process.accessLog(2)).every(({ peer }) => peer === orders), true);
  });
});

describe('TCP between two sidecars of the mesh', () => {
  async function pair(context: TestContext, handle: (socket: Socket) => void, mtls: string, name = inventory): Promise<{ far: MeshProxy; near: MeshProxy }> {
    const origin = await tcpOrigin(handle, { allowHalfOpen: true });
    context.after(() => origin.close());
    const far = await startProxy(context, 'sidecar', { service: 'inventory', identity: identityOf(server), tcp: [{ name: 'db', listen, upstream: 'db', mtls }], upstreams: { db: { endpoints: [`127.0.0.1:${origin.port}`] } } });
    const near = await startProxy(context, 'sidecar', { service: 'orders', identity: identityOf(client), tcp: [{ name: 'db', listen, upstream: 'db' }], upstreams: { db: { endpoints: [{ address: `127.0.0.1:${far.port('db')}`, identity: name }] } } });
    return { far, near };
  }
  const echo = (socket: Socket): unknown => socket.pipe(socket);

  test('is proven, passed on both ways, and logged with its peer', async (context) => {
    const { far, near } = await pair(context, echo, 'strict');
    const stream = await RawClient.connect(near.port('db'), { allowHalfOpen: true });
    await stream.send('hello').until((text) => text === 'hello');
    stream.socket.end();
    await stream.untilClosed();
    const [line] = await far.process.accessLog(1);
    assert.deepEqual([line!['peer'], line!['receivedBytes'], line!['code']], [orders, 5, undefined]);
  });

  test('goes on while certificates are renewed at both ends', async (context) => {
    const { far, near } = await pair(context, echo, 'strict');
    const stream = await RawClient.connect(near.port('db'));
    await stream.send('1').until((text) => text === '1');
    await Promise.all([authority.identity('inventory'), authority.identity('orders')]);
    for (const { process, config } of [far, near]) process.reload(config);
    await Promise.all([far, near].map(({ process }) => process.logged('the identity was exchanged')));
    await stream.send('2').until((text) => text === '12');
    const another = await RawClient.connect(near.port('db'));
    await another.send('3').until((text) => text === '3');
    for (const one of [stream, another]) one.close();
  });

  test('is refused to plaintext, and to those without a certificate, where it is strict', async (context) => {
    const { far } = await pair(context, echo, 'strict');
    assert.equal(await exchangeRaw(far.port('db'), 'hello'), '');
    await far.counted('proxy_mtls_refused_total{listener="db",reason="plaintext"}', 1);
    await new Promise<void>((resolve) => {
      const socket = connect({ port: far.port('db'), host: '127.0.0.1', rejectUnauthorized: false }, () => socket.write('hello'));
      socket.on('data', () => assert.fail('it was served')).on('error', () => {}).on('close', () => resolve());
    });
    await far.counted('proxy_mtls_refused_total{listener="db",reason="no_certificate"}', 1);
    assert.equal(far.process.stdout, '');
  });

  test('is not opened to an endpoint that does not prove its name', async (context) => {
    const { near } = await pair(context, echo, 'strict', 'spiffe://mesh.test/ns/default/sa/payments');
    assert.equal(await exchangeRaw(near.port('db'), 'hello'), '');
    await near.counted('proxy_mtls_failed_total{upstream="db",reason="wrong_name"}', 1);
    assert.equal((await near.process.accessLog(1))[0]!['code'], 'upstream_tls_failed');
  });

  test('where it is permissive plaintext is served too, also if the server has to speak first', async (context) => {
    const { far, near } = await pair(context, (socket) => socket.on('end', () => socket.end()).resume().write('welcome'), 'permissive');
    const plain = await RawClient.connect(far.port('db'));
    assert.equal(await plain.until((text) => text === 'welcome'), 'welcome');
    const proven = await RawClient.connect(near.port('db'));
    assert.equal(await proven.until((text) => text === 'welcome'), 'welcome');
    const spoken = await RawClient.connect(far.port('db'));
    assert.equal(await spoken.send('hello').until((text) => text === 'welcome'), 'welcome');
    for (const one of [plain, proven, spoken]) one.close();
    assert.deepEqual((await far.process.accessLog(3)).map(({ peer }) => peer).filter((peer) => peer !== undefined), [orders]);
  });

  test('where it is off, TLS is the application’s own', async (context) => {
    const { far } = await pair(context, (socket) => socket.once('data', (data) => socket.end(`${data[0]}`)), 'off');
    const text = await exchangeRaw(far.port('db'), '\x16\x03\x01');
    assert.equal(text, '22');
  });
});

describe('a listener that says nothing of mtls', () => {
  test('is strict where it serves others: the application beside it proves nothing', async (context) => {
    const app = await tcpOrigin((socket) => socket.pipe(socket));
    context.after(() => app.close());
    const tcp = [{ name: 'others', listen: { host: '0.0.0.0', port: 0 }, upstream: 'db' }, { name: 'own', listen, upstream: 'db' }];
    const sidecar = await startProxy(context, 'sidecar', { service: 'inventory', identity: identityOf(server), tcp, upstreams: { db: { endpoints: [`127.0.0.1:${app.port}`] } } });
    assert.equal(await exchangeRaw(sidecar.port('others'), 'hello'), '');
    const own = await RawClient.connect(sidecar.port('own'));
    assert.equal(await own.send('hello').until((text) => text === 'hello'), 'hello');
    own.close();

  });
});

