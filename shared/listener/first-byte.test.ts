import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { awaitFirstByte } from './first-byte.js';
import { readProxyHeader } from './proxy-protocol.js';

const header = 'PROXY UNKNOWN\r\n';

/** Both ends of a connection, and what is heard of it: that its header was read, whether TLS comes behind it, or that it was closed. */
async function connection(context: TestContext): Promise<{ client: Socket; accepted: Socket; heard: Record<'header' | 'isTls' | 'close', Promise<unknown[]>> }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket];
  context.after(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  const news = new EventEmitter();
  readProxyHeader(accepted, '127.0.0.1', undefined, () => {
    awaitFirstByte(accepted, (isTls) => news.emit('isTls', isTls));
    news.emit('header');
  });
  return { client, accepted, heard: { header: once(news, 'header'), isTls: once(news, 'isTls'), close: once(accepted, 'close') } };
}

describe('the first byte behind a PROXY header', () => {
  for (const [what, byte, isTls] of [['of TLS', '\x16', true], ['of plaintext', 'G', false]] as const) {
    test(`${what} is heard of when it comes with the header, and stays to be read`, async (context) => {
      const { client, accepted, heard } = await connection(context);
      client.write(header + byte);
      assert.deepEqual(await heard.isTls, [isTls]);
      assert.equal(String(accepted.read()), byte);
    });

    test(`${what} is heard of when it comes after the header was read, and stays to be read`, async (context) => {
      const { client, accepted, heard } = await connection(context);
      client.write(header);
      await heard.header;
      client.write(byte);
      assert.deepEqual(await heard.isTls, [isTls]);
      assert.equal(String(accepted.read()), byte);
    });
  }

  test('may be missing: a connection that ends with its header, or later, is closed', async (context) => {
    const [together, later] = [await connection(context), await connection(context)];
    together.client.end(header);
    await together.heard.close;
    later.client.write(header);
    await later.heard.header;
    later.client.end();
    await later.heard.close;
  });
});
