import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '../shared/clock/fake-clock.js';
import { tcpOrigin } from '../tests/support/origin.js';
import { AppHealth } from './app-health.js';

const intervalMs = 500;

/** An application that answers the first probe in its own way, and those after that as it should. */
async function start(context: TestContext, first: (socket: Socket) => void) {
  const news = new EventEmitter<{ asked: [] }>();
  let asked = 0;
  const app = await tcpOrigin((socket) =>
    socket.once('data', () => {
      if (++asked === 1) first(socket);
      else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      news.emit('asked');
    }),
  );
  const clock = new FakeClock();
  const health = new AppHealth({ app: app.address, path: '/health', intervalMs, clock });
  context.after(async () => {
    health.close();
    await app.close();
  });
  return { health, clock, news };
}

const endless: readonly (readonly [name: string, first: (socket: Socket) => void, isInTime: boolean])[] = [
  ['sends a head that does not end', (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const drip = setInterval(() => socket.write('X: y\r\n'), 1);
    socket.once('close', () => clearInterval(drip));
  }, false],
  ['sends nothing', () => {}, false],
  ['changes the protocol', (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'), true],
  ['closes without an answer', (socket) => socket.end(), true],
];
for (const [name, first, isInTime] of endless) {
  test(`an application that ${name} is unhealthy, and probed again`, async (context) => {
    const { health, clock, news } = await start(context, first);
    const asked = once(news, 'asked');
    const probed = health.start();
    await asked;
    if (!isInTime) await clock.advance(1_000);
    await probed;
    assert.equal(health.isHealthy, false);
    const again = once(news, 'asked');
    await clock.advance(intervalMs);
    await again;
    while (!health.isHealthy) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(clock.pending, 1);
  });
}
