import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { hasReset } from '../http/has-reset.js';
import { startEngine } from '../../tests/support/engine.js';
import { until, untilStill } from '../../tests/support/until.js';
import { httpOrigin, tcpOrigin } from '../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';

const upgrade = 'GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n';
const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Extra: 1\r\n\r\n';

test('switches protocols with the upstream and passes bytes both ways, also those that come with the heads', async () => {
  let seen = '';
  const origin = await tcpOrigin((socket) => {
    socket.on('data', (data) => {
      const isFirst = seen === '';
      seen += data.toString('latin1');
      if (isFirst) socket.write(`${switching}hello`);
      else socket.write(data);
    });
  });
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port);
  client.send(`${upgrade}early`);
  const text = await client.until((text) => text.includes('early'));
  assert.match(text, /^HTTP\/1\.1 101 Switching Protocols\r\nX-Extra: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhelloearly$/);
  assert.match(seen, /^GET \/ws HTTP\/1\.1\r\nHost: shop\r\nSec-WebSocket-Key: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly$/);
  client.close();
  const [exchange] = await engine.untilFinished(1);
  assert.deepEqual([exchange!.status, exchange!.requestBytes, exchange!.responseBytes, exchange!.errorCode], [101, 5, 10, undefined]);
  await engine.close();
  await origin.close();
});

test('a tunnel is transparent to a MiB of random bytes each way', async () => {
  const bytes = randomBytes(1 << 20);
  const origin = await tcpOrigin((socket) => {
    socket.once('data', () => {
      socket.write(switching);
      socket.pipe(socket);
    });
  });
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port);
  client.send(upgrade);
  await client.until((text) => text.endsWith('\r\n\r\n'));
  client.socket.removeAllListeners('data');
  const hash = createHash('sha256');
  let received = 0;
  const done = new Promise<void>((resolve) => {
    client.socket.on('data', (data: Buffer) => {
      hash.update(data);
      if ((received += data.length) === bytes.length) resolve();
    });
  });
  client.socket.write(bytes);
  await done;
  assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'));
  client.close();
  await engine.close();
  await origin.close();
});

test('each direction of a tunnel ends by itself', async () => {
  const origin = await tcpOrigin((socket) => {
    socket.once('data', () => {
      socket.write(switching);
      let text = '';
      socket.on('data', (data) => (text += data.toString()));
      socket.on('end', () => socket.end(`you said ${text}`));
    });
  }, { allowHalfOpen: true });
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port, { allowHalfOpen: true });
  client.send(upgrade);
  await client.until((text) => text.includes('101'));
  client.socket.end('all of it');
  assert.match(await client.untilClosed(), /you said all of it$/);
  await engine.untilFinished(1);
  await engine.close();
  await origin.close();
});

test('an upstream that refuses to switch answers as usual, and the connection goes on', async () => {
  const origin = await httpOrigin((request, response) => response.end(`${request.url}`));
  const engine = await startEngine([origin.address]);
  const answer = await exchangeRaw(engine.port, `${upgrade}GET /next HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.1 200 OK.*\/ws.*HTTP\/1\.1 200 OK.*\/next$/s);
  await engine.close();
  await origin.close();
});

test('a client that leaves takes the upstream’s side of the tunnel along, and an upstream that leaves the client’s', async () => {
  const ends: (() => void)[] = [];
  const origin = await tcpOrigin((socket) => {
    socket.once('data', () => {
      socket.write(switching);
      ends.push(() => socket.resetAndDestroy());
    });
    socket.on('close', () => closed?.());
    socket.on('error', () => {});
  });
  let closed: (() => void) | undefined;
  const engine = await startEngine([origin.address]);
  const first = await RawClient.connect(engine.port);
  first.send(upgrade);
  await first.until((text) => text.includes('101'));
  const originClosed = new Promise<void>((resolve) => (closed = resolve));
  first.close();
  await originClosed;
  const second = await RawClient.connect(engine.port);
  second.send(upgrade);
  await second.until((text) => text.includes('101'));
  ends[1]!();
  await second.untilClosed();
  await engine.untilFinished(2);
  assert.equal(engine.upstream.endpoints[0]!.pool.size, 0);
  await engine.close();
  await origin.close();
});

test('a tunnel on which nothing passes is closed after its idle timeout', async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write(switching)));
  const engine = await startEngine([origin.address], { limits: { tunnelIdleTimeout: 100, headTimeout: 100 } });
  const client = await RawClient.connect(engine.port);
  client.send(upgrade);
  await client.untilClosed();
  await engine.close();
  await origin.close();
});

test('a client that takes nothing until the idle timeout sees that it was broken off, and the log says why', async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write(Buffer.concat([Buffer.from(switching), Buffer.alloc(32 << 20)]))));
  const engine = await startEngine([origin.address], { limits: { tunnelIdleTimeout: 300 } });
  const client = await RawClient.connect(engine.port);
  client.send(upgrade);
  await client.until((text) => text.includes('101'));
  client.socket.pause();
  const [exchange] = await engine.untilFinished(1);
  assert.equal(exchange!.errorCode, 'idle_timeout');
  await until(() => engine.upstream.endpoints[0]!.pool.size === 0);
  client.socket.resume();
  await client.untilClosed();
  assert.ok(client.wasReset);
  await engine.close();
  await origin.close();
});

for (const takes of [false, true]) {
  test(`what a client has left behind for an endpoint that ${takes ? 'takes it late is delivered' : 'takes nothing is given up after bodyIdleTimeout'}`, async () => {
    let far!: Socket;
    const origin = await tcpOrigin((socket) => {
      far = socket;
      socket.once('data', () => {
        socket.write(switching);
        socket.pause();
      });
    }, { allowHalfOpen: true });
    const near: Socket[] = [];
    const remember = (message: unknown): void => void near.push((message as { socket: Socket }).socket);
    subscribe('net.client.socket', remember);
    const engine = await startEngine([origin.address], { upstream: { bodyIdleTimeout: 300 } });
    const client = await RawClient.connect(engine.port);
    client.send(upgrade);
    await client.until((text) => text.includes('101'));
    unsubscribe('net.client.socket', remember);
    const upstream = near.find(({ remotePort }) => remotePort === origin.port)!;
    // Until the kernels' buffers are full, and little is left with the proxy.
    const { bytesWritten } = upstream;
    let sent = 0;
    for (; upstream.writableLength === 0; sent += 4_096) {
      client.send(Buffer.alloc(4_096));
      while (upstream.bytesWritten < bytesWritten + sent + 4_096) await new Promise((resolve) => setImmediate(resolve));
    }
    client.socket.end();
    await until(() => upstream.writableEnded);
    client.socket.resetAndDestroy();
    far.write('to whoever is there');
    await engine.untilFinished(1);
    const { pool } = engine.upstream.endpoints[0]!;
    let received = 0;
    if (takes) {
      far.on('data', (data: Buffer) => (received += data.length)).resume();
      await once(far, 'end');
      assert.equal(received, sent);
    }
    await until(() => pool.size === 0);
    far.destroy();
    await engine.close();
    await origin.close();
  });
}

test('a request for a protocol that is not let through goes on as an ordinary one', async () => {
  for (const request of [
    'GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n',
    'GET / HTTP/1.0\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: shop\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok',
  ]) {
    const origin = await httpOrigin((request, response) => {
      request.resume();
      response.end(Object.keys(request.headers).join(' '));
    });
    origin.server.on('upgrade', (_request, socket) => socket.destroy());
    const engine = await startEngine([origin.address]);
    const answer = await exchangeRaw(engine.port, request);
    assert.match(answer, /^HTTP\/1\.1 200 OK/);
    assert.doesNotMatch(answer.slice(answer.indexOf('\r\n\r\n')), /upgrade|http2/);
    await engine.close();
    await origin.close();
  }
});

test('a switch to another protocol than was asked for is an upstream’s error', async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')));
  const engine = await startEngine([origin.address]);
  const answer = await exchangeRaw(engine.port, upgrade.replace('keep-alive', 'close'));
  assert.match(answer, /^HTTP\/1\.1 502 .*upstream_protocol$/s);
  await engine.close();
  await origin.close();
});

test('a reader that is slow makes the other side of the tunnel wait', async () => {
  let written = 0;
  const origin = await tcpOrigin((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(switching);
      const chunk = Buffer.alloc(65_536);
      const more = (): void => {
        while (written < 1 << 28) {
          written += chunk.length;
          if (!socket.write(chunk)) return;
        }
      };
      socket.on('drain', more);
      more();
    });
  });
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port);
  client.socket.pause();
  client.send(upgrade);
  await untilStill(() => written);
  assert.ok(written < 32 << 20, `${written} bytes were taken`);
  const closed = once(client.socket, 'close');
  client.close();
  await closed;
  await engine.untilFinished(1);
  await engine.close();
  await origin.close();
});

/** Whether the peer resets the connection, instead of ending it. */
function isReset(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNRESET'));
    socket.once('end', () => resolve(hasReset(socket)));
  });
}

for (const [who, byOrigin] of [['the upstream', true], ['the client', false]] as const) {
  for (const lastWords of ['', 'last words']) {
    test(`a reset by ${who} is a reset for the other side${lastWords === '' ? '' : ', also when something was said before'}`, async () => {
      let switched: (socket: Socket) => void;
      const switchedTo = new Promise<Socket>((resolve) => (switched = resolve));
      const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write(switching, () => switched(socket))));
      const engine = await startEngine([origin.address]);
      const client = await RawClient.connect(engine.port);
      await client.send(upgrade).until((text) => text.endsWith('\r\n\r\n'));
      const far = await switchedTo;
      const [near, other] = byOrigin ? [far, client.socket] : [client.socket, far];
      const wasReset = isReset(other);
      other.resume();
      if (lastWords !== '') near.write(lastWords);
      near.resetAndDestroy();
      assert.ok(await wasReset);
      await engine.untilFinished(1);
      await engine.close();
      await origin.close();
    });
  }
}
