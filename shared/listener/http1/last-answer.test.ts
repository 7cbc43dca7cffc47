import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { tcpOrigin } from '../../../tests/support/origin.js';
import { RawClient } from '../../../tests/support/raw-client.js';
import { until } from '../../../tests/support/until.js';
import { systemClock, delay } from '../../clock/clock.js';
import type { LimitsConfig } from '../../config/sections.js';
import { WholeBody } from '../../http/body.js';
import { Headers } from '../../http/headers.js';

const bytes = 32 * 2 ** 20;
const lastGet = 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';

/** An engine that answers with more than the kernel takes, and a client that takes nothing of it until it is told to. */
async function answered(context: TestContext, limits: Partial<LimitsConfig> = {}): Promise<{ readonly engine: TestEngine; readonly client: RawClient }> {
  const body = Buffer.alloc(bytes, 'x');
  const engine = await startEngine([], { limits, layer: () => () => Promise.resolve({ status: 200, headers: Headers.of({ 'Content-Length': String(bytes) }), body: new WholeBody(body) }) });
  context.after(() => engine.close());
  const client = await RawClient.connect(engine.port);
  client.socket.pause();
  client.send(lastGet);
  await engine.untilFinished(1);
  return { engine, client };
}

test('a client has as much time for its last answer as for any other', async (context) => {
  const { client } = await answered(context);
  // Longer than a client is waited for that has all of it.
  await delay(systemClock, 1_600);
  let received = 0;
  client.socket.removeAllListeners('data').on('data', (data: Buffer) => (received += data.length));
  client.socket.resume();
  await once(client.socket, 'end');
  assert.ok(received > bytes, `${received} bytes`);
});

test('one that takes nothing of it is cut off with a reset', async (context) => {
  const { engine, client } = await answered(context, { writeTimeout: 200 });
  await until(() => engine.listener.connectionCount === 0);
  client.socket.resume();
  assert.ok((await client.untilClosed()).length < bytes);
  assert.ok(client.wasReset);
});

test('what a process breaks off as it ends is reset, and logged as that', async (context) => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\nbeginning')));
  const engine = await startEngine([origin.address]);
  context.after(() => origin.close());
  const client = await RawClient.connect(engine.port);
  await client.send('GET / HTTP/1.0\r\n\r\n').until((text) => text.endsWith('beginning'));
  await engine.close();
  await client.untilClosed();
  assert.ok(client.wasReset);
  assert.deepEqual(engine.finished.map(({ status, errorCode }) => [status, errorCode]), [[200, 'shut_down']]);
});
