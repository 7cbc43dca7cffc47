import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { before, after, describe, test } from 'node:test';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { until } from '../../tests/support/until.js';
import { breakOff } from './break-off.js';

/** Sockets whose descriptors are open. */
const open = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;

/** What is done with a connection, and what its client has read when it is gone: a reset overtakes what was sent before. */
const moments: readonly (readonly [name: string, act: (socket: Socket, breakOffNow: () => void) => void, read: RegExp])[] = [
  ['in the middle of something', (socket, now) => void socket.write('half', now), /^(half)?$/],
  ['in the turn in which it ends', (socket, now) => [socket.end(), now()], /^$/],
  ['in the turn in which it ends, with something left to say', (socket, now) => [socket.end('whole'), now()], /^(whole)?$/],
  ['in the turn after', (socket, now) => [socket.end('whole'), setImmediate(now)], /^whole$/],
  ['in the turn after that', (socket, now) => [socket.end('whole'), setImmediate(() => setImmediate(now))], /^whole$/],
  ['once it has ended', (socket, now) => void socket.end('whole', now), /^whole$/],
];

describe('a connection that is broken off leaves no descriptor', () => {
  let authority: TestAuthority;
  let files: KeyPairFiles;
  before(async () => {
    authority = await TestAuthority.create();
    files = await authority.issue('server', { ip: ['127.0.0.1'] });
  });
  after(() => authority.remove());

  for (const isTls of [false, true]) {
    for (const [name, act, read] of moments) {
      test(`${name}${isTls ? ', with TLS' : ''}`, { timeout: 20_000 }, async () => {
        const before = open();
        let raw: Socket | undefined;
        const serve = (socket: Socket): void => {
          socket.on('error', () => {}).resume();
          act(socket, () => breakOff(raw!, socket));
        };
        const tls = createTlsServer(isTls ? { key: readFileSync(files.key), cert: readFileSync(files.cert) } : {}, serve);
        const server = createServer({ allowHalfOpen: true }, (socket) => {
          raw = socket.on('error', () => {});
          if (isTls) tls.emit('connection', raw);
          else serve(raw);
        }).listen(0, '127.0.0.1');
        await once(server, 'listening');
        const { port } = server.address() as AddressInfo;
        const client: Socket | TLSSocket = isTls ? connectTls({ port, host: '127.0.0.1', ca: readFileSync(authority.ca) }) : connect(port, '127.0.0.1');
        let seen = '';
        client.on('data', (data) => (seen += String(data))).on('error', () => {});
        await new Promise((resolve) => client.once('close', resolve));
        await until(() => open() === before);
        server.close();
        assert.match(seen, read);
      });
    }
  }
});
