import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { systemClock } from './clock.js';

const delayMs = 20;

/** Two ends of a connection. */
async function pair(context: TestContext): Promise<[near: Socket, far: Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown];
  server.close();
  context.after(() => [near, far].forEach((socket) => socket.destroy()));
  return [near, far];
}

function standStill(): void {
  for (const until = performance.now() + 3 * delayMs; performance.now() < until; );
}

describe('a timer of the machine that ends while the event loop stands still', () => {
  test('takes effect behind the reading of what has come meanwhile', async (context) => {
    const [near, far] = await pair(context);
    const order: string[] = [];
    far.on('data', () => order.push('read'));
    const ended = new Promise<void>((resolve) => {
      systemClock.after(delayMs, () => {
        order.push('ended');
        resolve();
      });
    });
    near.write('answer');
    standStill();
    await ended;
    assert.deepEqual(order, ['read', 'ended']);
  });

  test('does not take effect if that cancels it', async (context) => {
    const [near, far] = await pair(context);
    let hasEnded = false;
    const timer = systemClock.after(delayMs, () => (hasEnded = true));
    near.write('answer');
    standStill();
    await once(far, 'data');
    timer.cancel();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(hasEnded, false);
  });
});

test('a timer of the machine that is longer than Node can wait does not end at once', async (context) => {
  let hasEnded = false;
  const timer = systemClock.after(2 ** 31 + 1_000, () => (hasEnded = true));
  context.after(() => timer.cancel());
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  assert.equal(hasEnded, false);
});
