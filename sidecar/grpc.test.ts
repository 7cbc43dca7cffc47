import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Client, MetadataValue, ServerDuplexStream, ServerReadableStream, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js';
import { connect } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { TestAuthority } from '../tests/support/certificates.js';
import { echoService, grpcClient, grpcOrigin, Metadata, status, unary, type GrpcOrigin } from '../tests/support/grpc.js';
import { portIn, TestProcess } from '../tests/support/process.js';

const { Collect, Count, Chat } = echoService;
const bytes = (value: Buffer): Buffer => value;
const listen = { host: '127.0.0.1', port: 0 } as const;

interface RunningSidecar {
  readonly process: TestProcess;
  readonly ready: Record<string, unknown>;
}

async function start(config: object): Promise<RunningSidecar> {
  const process = new TestProcess('sidecar/main.js', { admin: { port: 0 }, drainTimeout: '5s', ...config });
  return { process, ready: await process.logged('ready') };
}

/** What the application at the far end saw. */
interface Seen {
  calls: number;
  metadata: Metadata | undefined;
  deadline: Date | number | undefined;
  cancelled: (() => void) | undefined;
}

describe('gRPC from application to application, by way of two sidecars', () => {
  let authority: TestAuthority;
  let app: GrpcOrigin;
  let server: RunningSidecar;
  let client: RunningSidecar;
  let channel: Client;
  const seen: Seen = { calls: 0, metadata: undefined, deadline: undefined, cancelled: undefined };

  before(async () => {
    authority = await TestAuthority.create();
    const [orders, inventory] = await Promise.all(['orders', 'inventory'].map((name) => authority.issue(name, { dns: [`${name}.test`], ip: ['127.0.0.1'] })));
    app = await grpcOrigin({
      Unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        seen.calls++;
        seen.metadata = call.metadata;
        seen.deadline = call.getDeadline();
        const text = call.request.toString();
        const trailers = new Metadata();
        trailers.set('x-trailer', 'last');
        trailers.set('x-bytes-bin', Buffer.from([0, 255, 10]));
        if (text === 'hang') {
          call.on('cancelled', () => seen.cancelled?.());
        } else if (text === 'flaky' && seen.calls === 1) {
          done({ code: status.UNAVAILABLE, details: 'try again' });
        } else if (text === 'wrong') {
          done({ code: status.FAILED_PRECONDITION, details: 'nicht möglich: 100%', metadata: trailers });
        } else {
          const initial = new Metadata();
          initial.set('x-initial', 'first');
          call.sendMetadata(initial);
          done(null, Buffer.from(`echo ${text}`), trailers);
        }
      },
      Collect(call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        const parts: string[] = [];
        call.on('data', (part: Buffer) => parts.push(part.toString()));
        call.on('end', () => done(null, Buffer.from(parts.join(','))));
      },
      Count(call: ServerWritableStream<Buffer, Buffer>) {
        const [count, size] = call.request.toString().split(' ').map(Number) as [number, number];
        call.on('cancelled', () => seen.cancelled?.());
        let sent = 0;
        const more = (): void => {
          while (sent < count) if (!call.write(Buffer.alloc(size, sent++ % 256))) return void call.once('drain', more);
          call.end();
        };
        more();
      },
      Chat(call: ServerDuplexStream<Buffer, Buffer>) {
        call.on('cancelled', () => seen.cancelled?.());
        call.on('data', (part: Buffer) => call.write(Buffer.from(`re ${part.toString()}`)));
        call.on('end', () => call.end());
      },
    });
    server = await start({
      service: 'inventory',
      inbound: { listen: { ...listen, http2: true, tls: { ...inventory, clientAuth: { ca: authority.ca } } }, app: `127.0.0.1:${app.port}`, protocol: 'h2' },
    });
    client = await start({
      service: 'orders',
      outbound: { listen: { ...listen, http2: true } },
      upstreams: {
        inventory: {
          endpoints: [`127.0.0.1:${portIn(server.ready, 'inbound')}`], protocol: 'h2', tls: { ca: authority.ca, serverName: 'inventory.test', ...orders },
          retry: { attempts: 3, on: ['unavailable'] }, breaker: {},
        },
      },
    });
    channel = grpcClient(portIn(client.ready, 'outbound'), 'inventory');
  });
  after(async () => {
    channel.close();
    for (const { process } of [client, server]) assert.equal((await process.stop()).code, 0);
    app.close();
    authority.remove();
  });

  const listAndKey = (): { list: MetadataValue[]; key: MetadataValue[] } => ({ list: seen.metadata!.get('x-list'), key: seen.metadata!.get('x-key-bin') });

  test('a unary call arrives, with metadata and trailers intact in both directions', async () => {
    const metadata = new Metadata();
    metadata.add('x-list', 'a');
    metadata.add('x-list', 'b');
    metadata.set('x-key-bin', Buffer.from([1, 0, 200]));
    const answer = await unary(channel, 'hello', { metadata });
    assert.deepEqual([answer.code, answer.message], [status.OK, 'echo hello']);
    const { list, key } = listAndKey();
    assert.deepEqual(key, [Buffer.from([1, 0, 200])]);
    const direct = grpcClient(app.port, 'inventory');
    await unary(direct, 'hello', { metadata });
    direct.close();
    assert.deepEqual({ list, key }, listAndKey(), 'as it would without proxies');
    assert.deepEqual(answer.initial!.get('x-initial'), ['first']);
    assert.deepEqual(answer.trailing.get('x-trailer'), ['last']);
    assert.deepEqual(answer.trailing.get('x-bytes-bin'), [Buffer.from([0, 255, 10])]);
  });

  test('an error of the application keeps its status, details and trailers', async () => {
    const { code, details, trailing } = await unary(channel, 'wrong');
    assert.deepEqual([code, details], [status.FAILED_PRECONDITION, 'nicht möglich: 100%']);
    assert.deepEqual(trailing.get('x-trailer'), ['last']);
  });

  test('streams of the client, of the server and of both pass as they come', async () => {
    const collected = await new Promise<string>((resolve, reject) => {
      const call = channel.makeClientStreamRequest(Collect.path, bytes, bytes, (error, answer) => (error ? reject(error) : resolve(answer!.toString())));
      for (const part of ['a', 'b', 'c']) call.write(Buffer.from(part));
      call.end();
    });
    assert.equal(collected, 'a,b,c');

    let received = 0;
    for await (const part of channel.makeServerStreamRequest(Count.path, bytes, bytes, Buffer.from('200 20000'))) received += (part as Buffer).length;
    assert.equal(received, 4_000_000);

    const chat = channel.makeBidiStreamRequest(Chat.path, bytes, bytes);
    for (const text of ['one', 'two', 'three']) {
      chat.write(Buffer.from(text));
      const [answer] = (await once(chat, 'data')) as [Buffer];
      assert.equal(answer.toString(), `re ${text}`);
    }
    chat.end();
    const [over] = (await once(chat, 'status')) as [{ code: number }];
    assert.equal(over.code, status.OK);
  });

  test('a deadline is passed on as what is left of it, and ends the call at every hop', async () => {
    const startedAt = Date.now();
    const cancelled = new Promise<void>((resolve) => (seen.cancelled = resolve));
    const { code } = await unary(channel, 'hang', { deadlineMs: 300 });
    assert.equal(code, status.DEADLINE_EXCEEDED);
    await cancelled;
    const left = Number(seen.deadline) - startedAt;
    assert.ok(left > 200 && left < 400, `the application was given ${left} ms`);
  });

  test('a deadline that the client does not keep itself is kept by the sidecar, before the answer and within it', async () => {
    const session = connect(`http://127.0.0.1:${portIn(client.ready, 'outbound')}`);
    for (const [path, message] of [['/test.Echo/Unary', 'hang'], ['/test.Echo/Chat', 'hello']] as const) {
      const stream = session.request({ ':method': 'POST', ':path': path, ':authority': 'inventory', 'content-type': 'application/grpc', te: 'trailers', 'grpc-timeout': '200m' });
      stream.write(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), Buffer.from(message)]));
      let last: Record<string, unknown> = {};
      stream.on('response', (fields: Record<string, unknown>) => (last = { ...fields, ...last }));
      stream.on('trailers', (fields: Record<string, unknown>) => (last = { ...last, ...fields }));
      stream.resume();
      const at = performance.now();
      await once(stream, 'close');
      const took = performance.now() - at;
      assert.deepEqual([last[':status'], last['grpc-status']], [200, '4'], path);
      assert.ok(took > 150 && took < 400, `it took ${took} ms`);
    }
    session.close();
  });

  test('a call that is cancelled is cancelled at the last hop at once', async () => {
    for (const open of [
      () => channel.makeServerStreamRequest(Count.path, bytes, bytes, Buffer.from('100000 20000')),
      () => channel.makeBidiStreamRequest(Chat.path, bytes, bytes),
    ]) {
      const cancelled = new Promise<number>((resolve) => (seen.cancelled = () => resolve(performance.now())));
      const call = open();
      call.on('error', () => {});
      if ('write' in call) (call as { write(data: Buffer): void }).write(Buffer.from('hello'));
      await once(call, 'data');
      const at = performance.now();
      call.cancel();
      const took = (await cancelled) - at;
      assert.ok(took < 50, `it took ${took} ms`);
    }
  });

  test('UNAVAILABLE without a message is tried again', async () => {
    seen.calls = 0;
    const { code, message } = await unary(channel, 'flaky');
    assert.deepEqual([code, message, seen.calls], [status.OK, 'echo flaky', 2]);
    const metrics = await (await fetch(`http://127.0.0.1:${portIn(client.ready, 'admin')}/metrics`)).text();
    assert.match(metrics, /^proxy_retries_total\{upstream="inventory",outcome="retried"\} 1$/m);
  });

  test('what the sidecar answers by itself is a status of gRPC', async () => {
    const other = grpcClient(portIn(client.ready, 'outbound'), 'nowhere');
    const { code, details } = await unary(other, 'hello');
    assert.deepEqual([code, details], [status.UNIMPLEMENTED, 'no_route: No route matches the request.']);
    other.close();
  });

  test('the status is in the access log and in the metrics of every hop', async () => {
    for (const { process, ready } of [client, server]) {
      const lines = await process.accessLog(9);
      const wrong = lines.find((line) => line['grpcStatus'] === status.FAILED_PRECONDITION);
      assert.deepEqual([wrong?.['status'], wrong?.['path']], [200, '/test.Echo/Unary']);
      const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
      assert.match(metrics, /^proxy_grpc_calls_total\{[^}]*rpc_grpc_status_code="9"\} 1$/m);
      // At the far end the caller's cancellation and the deadline come at the same moment.
      if (process === client.process) assert.match(metrics, /^proxy_grpc_calls_total\{[^}]*rpc_grpc_status_code="4"\} [23]$/m);
    }
  });

  test('many calls share few connections', async () => {
    const answers = await Promise.all(Array.from({ length: 300 }, (_, index) => unary(channel, String(index))));
    assert.deepEqual(answers.map(({ message }) => message), Array.from({ length: 300 }, (_, index) => `echo ${index}`));
    const [inventory] = (await (await fetch(`http://127.0.0.1:${portIn(client.ready, 'admin')}/upstreams`)).json()) as { endpoints: { connections: number; inFlight: number }[] }[];
    assert.ok(inventory!.endpoints[0]!.connections <= 3, JSON.stringify(inventory));
    assert.equal(inventory!.endpoints[0]!.inFlight, 0);
  });
});
