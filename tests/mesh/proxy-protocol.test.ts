import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { TestAuthority } from '../support/certificates.js';
import { serverOf, type Identity } from '../support/mesh-pair.js';
import { httpOrigin, type Origin } from '../support/origin.js';
import { RawClient } from '../support/raw-client.js';

const header = 'PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\r\n';
const request = 'GET / HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\n\r\n';
const orders = 'spiffe://mesh.test/ns/default/sa/orders';
/** What a handshake begins with. */
const partOfHello = '\x16\x03\x01\x02\x00\x01';
const inbound = { listen: { host: '127.0.0.1', port: 0, proxyProtocol: { from: ['127.0.0.1'] } } };

let authority: TestAuthority;
let app: Origin;
let [client, server]: Identity[] = [];
before(async () => {
  authority = await TestAuthority.create();
  [client, server] = [await authority.identity('orders'), await authority.identity('inventory')];
  app = await httpOrigin((_request, response) => response.end('hello'));
});
after(async () => {
  authority.remove();
  await app.close();
});

/** Has what is written first go out in one piece with the header. */
function behindHeader(socket: Socket): Duplex {
  let first = header;
  const stream = new Duplex({
    read: () => {},
    write: (data: Buffer, _encoding, done) => {
      socket.write(Buffer.concat([Buffer.from(first), data]), done);
      first = '';
    },
  });
  socket.on('data', (data) => stream.push(data)).on('end', () => stream.push(null)).on('error', () => {});
  return stream;
}

/** One request over TLS, behind the header: what came back. */
async function askTls(port: number, isOnePiece: boolean): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  if (!isOnePiece) socket.write(header);
  const tls = connectTls({ socket: isOnePiece ? behindHeader(socket) : socket, cert: readFileSync(client!.cert), key: readFileSync(client!.key), rejectUnauthorized: false });
  tls.write(request);
  let text = '';
  for await (const data of tls) text += String(data);
  return text;
}

describe('a listener of the mesh behind a balancer that says who its client is', () => {
  for (const [mtls, plaintext] of [['strict', '403'], ['permissive', '200'], ['off', '200']] as const) {
    test(`serves what comes behind the header, in one piece with it or in another, where mtls is ${mtls}`, async (context) => {
      const { process, port } = await serverOf(context, app.port, server, { inbound: { ...inbound, mtls } });
      for (const isOnePiece of [true, false]) assert.match(await askTls(port('inbound'), isOnePiece), /^HTTP\/1\.1 200 OK[^]*hello$/);
      for (const pieces of [[header + request], [header, request], [header + request.slice(0, 1), request.slice(1)], [header.slice(0, -1), `\n${request}`]]) {
        const caller = await RawClient.connect(port('inbound'));
        for (const piece of pieces) {
          caller.send(piece);
          await new Promise((resolve) => setImmediate(resolve));
        }
        assert.equal((await caller.untilClosed()).slice(9, 12), plaintext);
      }
      const lines = await process.accessLog(6);
      assert.deepEqual([...new Set(lines.map((line) => line['client']))], ['203.0.113.7']);
      assert.deepEqual(lines.map(({ peer }) => peer), [orders, orders, undefined, undefined, undefined, undefined]);
    });
  }

  test('sees the end of a connection', async (context) => {
    const { port } = await serverOf(context, app.port, server, { inbound: { ...inbound, mtls: 'permissive' }, limits: { headTimeout: '10m' } });
    for (const [sent, answer] of [[header, ''], [header + partOfHello, ''], [header + request, '200']] as const) {
      for (const pieces of [[sent], [header, sent.slice(header.length)]]) {
        const caller = await RawClient.connect(port('inbound'), { allowHalfOpen: true });
        for (const piece of pieces) {
          caller.send(piece);
          await new Promise((resolve) => setImmediate(resolve));
        }
        caller.socket.end();
        assert.equal((await caller.untilClosed()).slice(9, 12), answer);
      }
      const caller = await RawClient.connect(port('inbound'), { allowHalfOpen: true });
      caller.socket.end(Buffer.from(sent, 'latin1'));
      assert.equal((await caller.untilClosed()).slice(9, 12), answer);
    }
  });
});
