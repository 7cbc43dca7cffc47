import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { httpOrigin, type Origin } from '../../../tests/support/origin.js';
import { WholeBody } from '../../http/body.js';
import { Headers } from '../../http/headers.js';
import type { Layer } from '../../http/service.js';

/** What TLS puts into one record. */
const recordBytes = 16_384;
/** More than a socket takes at once from us: the connection waits for its client. */
const large = Buffer.alloc(100_000, 'b');

/** TLS hands over all records of one read, one after the other, whatever was decided about the socket meanwhile. */
describe('requests that come in several records of TLS and one read', () => {
  let authority: TestAuthority;
  let origin: Origin;
  let engine: TestEngine;
  let seen: string[];
  before(async () => {
    authority = await TestAuthority.create();
    const { cert, key } = await authority.issue('shop', { dns: ['shop.test'] });
    seen = [];
    origin = await httpOrigin((request, response) => {
      seen.push(request.rawHeaders.join('|'));
      response.end('second');
    });
    const layer: Layer = (next) => (request, exchange) => (request.path === '/large' ? Promise.resolve({ status: 200, headers: Headers.of({}), body: new WholeBody(large) }) : next(request, exchange));
    engine = await startEngine([origin.address], { tls: { cert, key, minVersion: 'TLSv1.2', certificates: [] }, layer });
  });
  after(async () => {
    await engine.close();
    await origin.close();
    authority.remove();
  });

  async function dial(): Promise<TLSSocket> {
    const socket = connect({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca) });
    await once(socket, 'secureConnect');
    return socket;
  }

  async function allOf(socket: TLSSocket): Promise<string> {
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    await new Promise((resolve) => socket.once('close', resolve));
    return text;
  }

  /** A request with a large answer, and the next one: of its head, `first` ends the first record, and `second` begins the second. */
  function inTwoRecords(first: string, second: string): string {
    const head = 'POST /large HTTP/1.1\r\nHost: shop\r\nContent-Length: ';
    const length = recordBytes - head.length - '12345\r\n\r\n'.length - first.length;
    return `${head}${length}\r\n\r\n${'p'.repeat(length)}${first}${second}`;
  }

  for (const [name, octet] of [['a bare line feed', '\n'], ['a bare carriage return', '\r'], ['a NUL', '\0']] as const) {
    test(`${name} in a head of which the beginning was held back is refused`, async () => {
      seen.length = 0;
      const socket = await dial();
      socket.write(inTwoRecords(`GET /second HTTP/1.1\r\nHost: shop\r\nX-A: 1${octet}X-Auth-Subject: admin\r\nX-Pad: `, 'pad\r\n\r\n'), 'latin1');
      assert.match(await allOf(socket), /b{100}HTTP\/1\.1 400 /);
      assert.deepEqual(seen, []);
    });
  }

  test('heads that were held back whole are read one by one', async () => {
    seen.length = 0;
    const socket = await dial();
    const next = 'GET /second HTTP/1.1\r\nHost: shop\r\n\r\n';
    socket.write(inTwoRecords(next.repeat(3) + next.slice(0, 20), `${next.slice(20)}GET /second HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`), 'latin1');
    assert.match(await allOf(socket), /b{100}(?:HTTP\/1\.1 200 OK\r\n[^]*?second){5}$/);
    assert.equal(seen.length, 5);
  });

  test('one that its client sent before it ended is answered', async () => {
    seen.length = 0;
    const socket = await dial();
    socket.end('GET /large HTTP/1.1\r\nHost: shop\r\n\r\nGET /second HTTP/1.1\r\nHost: shop\r\n\r\n');
    assert.match(await allOf(socket), /b{100}HTTP\/1\.1 200 OK\r\n[^]*second$/);
  });
});
