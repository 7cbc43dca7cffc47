import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { TestAuthority } from '../../tests/support/certificates.js';
import { startEngine } from '../../tests/support/engine.js';
import { httpOrigin, tcpOrigin } from '../../tests/support/origin.js';
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

const patient = { headTimeout: 3_600_000 };

test('a connection from which nothing has come is not waited for, where TLS comes first', { timeout: 20_000 }, async () => {
  const authority = await TestAuthority.create();
  const files = await authority.issue('shop', { dns: ['shop.test'] });
  const origin = await httpOrigin((_request, response) => response.end());
  const engine = await startEngine([origin.address], { limits: patient, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
  const [silent, slow] = [await RawClient.connect(engine.port), await RawClient.connect(engine.port)];
  slow.send(Buffer.from([22]));
  // Accepted after both.
  const last = connectTls({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca) });
  await once(last, 'secureConnect');
  let isSlowClosed = false;
  void slow.untilClosed().then(() => (isSlowClosed = true));
  const drained = engine.listener.drain();
  assert.equal(await silent.untilClosed(), '');
  assert.equal(isSlowClosed, false, 'a handshake that has begun is waited for');
  slow.close();
  last.destroy();
  await drained;
  await engine.close();
  await origin.close();
});

test('a connection from which nothing has come is not waited for, where a header of the PROXY protocol comes first', { timeout: 20_000 }, async () => {
  const origin = await httpOrigin((_request, response) => response.end('well'));
  const engine = await startEngine([origin.address], { limits: patient, listen: { host: '127.0.0.1', port: 0, proxyProtocol: { from: ['127.0.0.1'] } } });
  const [silent, slow, last] = [await RawClient.connect(engine.port), await RawClient.connect(engine.port), await RawClient.connect(engine.port)];
  slow.send('PROXY TCP4 ');
  const request = 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';
  last.send(`PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${request}`);
  assert.match(await last.untilClosed(), /well$/);
  const drained = engine.listener.drain();
  assert.equal(await silent.untilClosed(), '');
  slow.send(`192.0.2.1 192.0.2.2 1 2\r\n${request}`);
  assert.match(await slow.untilClosed(), /^HTTP\/1\.1 200 [^]*well$/);
  await drained;
  await engine.close();
  await origin.close();
});
