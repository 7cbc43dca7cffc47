import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type ConnectionOptions } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../support/certificates.js';
import { startProxy } from '../support/mesh-pair.js';
import { httpOrigin, tcpOrigin, type Origin } from '../support/origin.js';

const orders = 'spiffe://mesh.test/ns/default/sa/orders';

let authority: TestAuthority;
let stranger: TestAuthority;
let shop: KeyPairFiles;
let caller: KeyPairFiles;
let nameless: KeyPairFiles;
let forged: KeyPairFiles;
let app: Origin;

before(async () => {
  authority = await TestAuthority.create();
  shop = await authority.issue('shop', { dns: ['localhost'] });
  caller = await authority.issue('orders', { uri: [orders] });
  stranger = await TestAuthority.create();
  forged = await stranger.issue('orders', { uri: [orders] });
  nameless = await authority.issue('nameless', { dns: ['orders.test'] });
  app = await httpOrigin((request, response) => response.end(`hello ${String(request.headers['x-forwarded-client-cert'])}`));
});
after(async () => {
  authority.remove();
  stranger.remove();
  await app.close();
});

const shows = (files: KeyPairFiles | undefined): ConnectionOptions => ({ host: '127.0.0.1', servername: 'localhost', ca: readFileSync(authority.ca), ...(files && { cert: readFileSync(files.cert), key: readFileSync(files.key) }) });
const listen = (): object => ({ host: '127.0.0.1', port: 0, tls: { ...shop, clientAuth: { ca: authority.ca, required: false } } });

/** What comes back to `text` over TLS. */
function exchange(port: number, files: KeyPairFiles | undefined, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, ...shows(files) }, () => socket.write(text));
    let received = '';
    socket.on('data', (data: Buffer) => {
      received += data.toString();
      if (received.includes('hello')) socket.end();
    });
    // One who is turned away may hear of it as a reset.
    socket.on('error', (error: NodeJS.ErrnoException) => error.code !== 'ECONNRESET' && reject(error));
    socket.on('close', () => resolve(received));
  });
}

/** One request of HTTP/2: its body. */
async function ask2(port: number, files: KeyPairFiles): Promise<string> {
  const session = connectHttp2(`https://localhost:${port}`, shows(files) as object);
  let body = '';
  session.on('error', () => {});
  try {
    const stream = session.request({ ':path': '/' });
    for await (const part of stream) body += String(part);
    if (stream.rstCode !== 0 || body === '') throw new Error('there was no answer');
  } finally {
    session.close();
  }
  return body;
}

describe('a listener with TLS of its own, that asks clients for certificates', () => {
  const request = 'GET / HTTP/1.1\r\nHost: inventory\r\nX-Forwarded-Client-Cert: URI=spiffe://mesh.test/ns/default/sa/admin\r\n\r\n';

  for (const http2 of [false, 'engine', 'fastify'] as const) {
    test(`knows the workload by its certificate${http2 === false ? '' : `, with HTTP/2 through ${http2}`}, and nobody by any other`, async (context) => {
      const sidecar = await startProxy(context, 'sidecar', { service: 'inventory', inbound: { listen: { ...listen(), http2 }, app: `127.0.0.1:${app.port}` } });
      const port = sidecar.port('inbound');
      for (const files of [caller, nameless, undefined]) assert.match(await exchange(port, files, request), /^HTTP\/1\.1 200 OK[^]*hello undefined/);
      assert.equal(await exchange(port, forged, request), '', 'a name that the authority has not given');
      if (http2 !== false) {
        await assert.rejects(ask2(port, forged));
        assert.equal(await ask2(port, caller), 'hello undefined');
      }
      const expected = [orders, undefined, undefined, ...(http2 === false ? [] : [orders])];
      assert.deepEqual((await sidecar.process.accessLog(expected.length)).map(({ peer }) => peer), expected);
    });
  }

  test('tells whoever has proven who it is how long its connection is kept, once, and nobody else', async (context) => {
    const sidecar = await startProxy(context, 'sidecar', { service: 'inventory', limits: { idleTimeout: '20s' }, inbound: { listen: listen(), app: `127.0.0.1:${app.port}` } });
    const ask = 'GET / HTTP/1.1\r\nHost: inventory\r\n';
    for (const files of [caller, nameless, undefined]) {
      const answers = await exchange(sidecar.port('inbound'), files, `${ask}\r\n${ask}Connection: close\r\n\r\n`);
      const said = answers.split('HTTP/1.1 ').slice(1).map((text) => [...text.matchAll(/^(?:Connection|Keep-Alive): .*(?=\r$)/gm)].map(String));
      assert.deepEqual(said, [files === undefined ? [] : ['Connection: keep-alive', 'Keep-Alive: timeout=20'], ['Connection: close']]);
    }
  });

  test('knows it at the edge of the gateway too', async (context) => {
    const gateway = await startProxy(context, 'gateway', { listen: listen(), routes: [{ upstream: 'inventory' }], upstreams: { inventory: { endpoints: [`127.0.0.1:${app.port}`] } } });
    assert.match(await exchange(gateway.port('listen'), caller, request), /hello undefined/);
    assert.equal((await gateway.process.accessLog(1))[0]!['peer'], orders);
  });

  test('knows it where TCP is passed on', async (context) => {
    const origin = await tcpOrigin((socket) => socket.pipe(socket));
    context.after(() => origin.close());
    const sidecar = await startProxy(context, 'sidecar', { service: 'inventory', tcp: [{ name: 'db', listen: listen(), upstream: 'db' }], upstreams: { db: { endpoints: [`127.0.0.1:${origin.port}`] } } });
    assert.equal(await exchange(sidecar.port('db'), caller, 'hello'), 'hello');
    assert.equal((await sidecar.process.accessLog(1))[0]!['peer'], orders);
  });
});
