import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type Server } from 'node:tls';
import { test } from 'node:test';
import { TestAuthority } from '../../tests/support/certificates.js';
import { Handshakes } from './handshakes.js';

test('a client may use its port towards two addresses of ours: what is known of the two connections is kept apart', () => {
  const handshakes = new Handshakes<string>();
  const server = new EventEmitter() as unknown as Server;
  const connection = (localAddress: string): Socket => Object.assign(new EventEmitter(), { remoteAddress: '127.0.0.1', remotePort: 40_000, localAddress, localPort: 443 }) as unknown as Socket;
  const [first, second] = [connection('127.0.0.1'), connection('127.0.0.2')];
  handshakes.begin(server, first, 'for 10.0.0.1');
  handshakes.begin(server, second, 'for 10.0.0.2');
  assert.deepEqual([handshakes.of(first), handshakes.of(second)], ['for 10.0.0.1', 'for 10.0.0.2']);
  first.emit('close');
  assert.deepEqual([handshakes.of(first), handshakes.of(second)], [undefined, 'for 10.0.0.2']);
});

test('what is known of a connection stays known when its client resets it behind the handshake, or leaves within it', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { ip: ['127.0.0.1'] });
  const tls = createTlsServer({ cert: readFileSync(files.cert), key: readFileSync(files.key) });
  const handshakes = new Handshakes<string>();
  let accepted = 0;
  const server = createServer((raw) => {
    raw.on('error', () => {});
    handshakes.begin(tls, raw, `connection ${++accepted}`);
  }).listen(0, '127.0.0.1');
  context.after(() => server.close());
  await once(server, 'listening');
  const dial = async (): Promise<Socket> => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  // Whether hands were shaken, where they just were as the reset came, is told differently by versions of Node.
  const ended = (): Promise<string | undefined> =>
    new Promise((resolve) => {
      const done = (socket: Socket): void => {
        socket.on('error', () => {});
        resolve(handshakes.of(socket));
      };
      tls.once('secureConnection', done).once('tlsClientError', (_error, socket) => done(socket));
    });
  const raw = await dial();
  const first = ended();
  const client = connectTls({ socket: raw, host: '127.0.0.1', ca: readFileSync(authority.ca) });
  client.on('error', () => {});
  client.once('secureConnect', () => {
    client.write('hello');
    raw.resetAndDestroy();
  });
  assert.equal(await first, 'connection 1');
  tls.removeAllListeners('secureConnection').removeAllListeners('tlsClientError');
  const second = ended();
  (await dial()).end('\x16\x03\x01');
  assert.equal(await second, 'connection 2');
});
