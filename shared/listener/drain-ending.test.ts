import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin } from '../../tests/support/origin.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { FastifyListener } from './fastify/fastify-listener.js';
import { Http1Listener } from './http1-listener.js';

for (const kind of [Http1Listener, FastifyListener]) {
  test(`${kind.name}: a connection whose answer promised more than a drain allows ends with that answer`, { timeout: 20_000 }, async () => {
    let asked!: (socket: Socket) => void;
    const upstream = new Promise<Socket>((resolve) => (asked = resolve));
    const origin = await tcpOrigin((socket) => socket.once('data', () => asked(socket)));
    const engine = await startEngine([origin.address], { kind });
    const client = await RawClient.connect(engine.port);
    client.send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
    const socket = await upstream;
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhello');
    assert.doesNotMatch(await client.until((text) => text.endsWith('hello')), /connection: close/i);
    const drained = engine.listener.drain();
    socket.write('world');
    assert.match(await client.untilClosed(), /helloworld$/);
    await drained;
    await engine.close();
    await origin.close();
  });
}
