import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { startEngine } from '../../../tests/support/engine.js';
import { httpOrigin, readBody } from '../../../tests/support/origin.js';
import { RawClient } from '../../../tests/support/raw-client.js';
import { lendReads } from './lend-reads.js';

test('this version of Node still lets accepted sockets read into our memory', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const received = new Promise<string>((resolve) => {
    assert.equal(lendReads(socket, (data) => resolve(data.toString())), true);
  });
  socket.on('data', () => assert.fail('nothing comes as an event'));
  client.write('hello');
  assert.equal(await received, 'hello');
  client.destroy();
  server.close();
});

test('what one connection has kept is not changed by what others send', async () => {
  const origin = await httpOrigin((request, response) => {
    void readBody(request).then((body) => response.end(`${request.url}|${String(request.headers['x-mark'])}|${createHash('sha256').update(body).digest('hex')}`));
  });
  const engine = await startEngine([origin.address]);
  const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(engine.port)));
  const bodies = clients.map((_, index) => String(index).repeat(300));
  // Every piece of every message lies in the memory that the next read of another connection goes to.
  const pieces = clients.map((_, index) => {
    const message = `POST /mark-${index} HTTP/1.1\r\nHost: shop\r\nX-Mark: ${String(index).repeat(40)}\r\nContent-Length: 300\r\n\r\n${bodies[index]}`;
    return Array.from({ length: 6 }, (_, piece) => message.slice(Math.floor((piece * message.length) / 6), Math.floor(((piece + 1) * message.length) / 6)));
  });
  for (let piece = 0; piece < 6; piece++) {
    for (const [index, client] of clients.entries()) {
      await new Promise((resolve) => client.socket.write(pieces[index]![piece]!, resolve));
      await new Promise(setImmediate);
    }
  }
  for (const [index, client] of clients.entries()) {
    const expected = `/mark-${index}|${String(index).repeat(40)}|${createHash('sha256').update(bodies[index]!).digest('hex')}`;
    assert.ok((await client.until((text) => text.includes('|') && text.endsWith(expected.slice(-64)))).endsWith(expected));
    client.close();
  }
  await engine.close();
  await origin.close();
});

test('a body that waits for its upstream is not changed by other requests', async () => {
  // More than the buffers of two sockets take.
  const bytes = randomBytes(24 << 20);
  let release: (() => void) | undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const hash = createHash('sha256');
  const origin = await httpOrigin((request, response) => {
    if (request.url === '/other') {
      request.resume().on('end', () => response.end('ok'));
      return;
    }
    void released.then(async () => {
      for await (const chunk of request) hash.update(chunk as Buffer);
      response.end(hash.digest('hex'));
    });
  });
  const engine = await startEngine([origin.address]);
  const [slow, other] = [await RawClient.connect(engine.port), await RawClient.connect(engine.port)];
  slow.send(`POST /slow HTTP/1.1\r\nHost: shop\r\nContent-Length: ${bytes.length}\r\n\r\n`).send(bytes);
  for (let count = 1; count <= 50; count++) {
    other.send(`POST /other HTTP/1.1\r\nHost: shop\r\nContent-Length: 64000\r\n\r\n${'x'.repeat(64_000)}`);
    await other.until((text) => text.split('\r\n\r\nok').length > count);
  }
  release!();
  const answer = await slow.until((text) => /\r\n\r\n[0-9a-f]{64}$/.test(text));
  assert.equal(answer.slice(-64), createHash('sha256').update(bytes).digest('hex'));
  slow.close();
  other.close();
  await engine.close();
  await origin.close();
});
