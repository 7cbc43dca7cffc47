import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { describe, test, type TestContext } from 'node:test';
import { TestAuthority } from '../../tests/support/certificates.js';
import { startEngine } from '../../tests/support/engine.js';
import { httpOrigin, tcpOrigin } from '../../tests/support/origin.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { startTcp } from '../../tests/support/tcp.js';
import { FastifyListener } from './fastify/fastify-listener.js';
import { Http1Listener } from './http1-listener.js';
import { parseProxyHeader, type OnBadHeader } from './proxy-protocol.js';

const get = 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';

function directory(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'listener-'));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

function askSocket(socketPath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest({ socketPath, path: '/' }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    }).on('error', reject).end();
  });
}

describe('Unix domain sockets', () => {
  test('as a listener and as an endpoint', async (context) => {
    const folder = directory(context);
    const hosts: (string | undefined)[] = [];
    const origin = createServer((request, response) => {
      hosts.push(request.headers.host);
      response.end('over a socket');
    });
    origin.listen(join(folder, 'origin'));
    await once(origin, 'listening');
    const engine = await startEngine([{ path: join(folder, 'origin') }], { listen: { path: join(folder, 'listener') } });
    assert.equal(await askSocket(join(folder, 'listener')), 200);
    const [exchange] = await engine.untilFinished(1);
    assert.equal(exchange!.endpoint, `unix:${join(folder, 'origin')}`);
    // A client of HTTP/1.0 may name no host; the path of a socket is none.
    const old = connect(join(folder, 'listener'));
    old.resume().write('GET / HTTP/1.0\r\n\r\n');
    await once(old, 'close');
    assert.deepEqual(hosts, ['localhost', 'localhost']);
    await engine.close();
    assert.equal(existsSync(join(folder, 'listener')), false);
    origin.closeAllConnections();
    origin.close();
  });

  test('as an endpoint of HTTP/2, of requests that name no host', async (context) => {
    const folder = directory(context);
    const hosts: unknown[] = [];
    const origin = createHttp2Server().on('stream', (stream, fields) => {
      hosts.push(fields[':authority']);
      stream.respond();
      stream.end();
    });
    origin.listen(join(folder, 'origin'));
    await once(origin, 'listening');
    const engine = await startEngine([{ path: join(folder, 'origin') }], { upstream: { protocol: 'h2' } });
    assert.match(await (await RawClient.connect(engine.port)).send('GET / HTTP/1.0\r\n\r\n').untilClosed(), / 200 /);
    assert.deepEqual(hosts, ['localhost']);
    await engine.close();
    origin.close();
  });

  test('what a process that was killed left behind is taken over, what another answers on is not', async (context) => {
    const folder = directory(context);
    const path = join(folder, 'listener');
    const { spawnSync } = await import('node:child_process');
    // Killed with the socket open: nobody removes it.
    spawnSync(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`]);
    assert.equal(existsSync(path), true);
    const origin = await httpOrigin((_request, response) => response.end());
    const engine = await startEngine([origin.address], { listen: { path } });
    assert.equal(await askSocket(path), 200);
    await assert.rejects(startEngine([origin.address], { listen: { path } }), /EADDRINUSE/);
    await engine.close();
    await origin.close();
  });

  const others: readonly (readonly [what: string, make: (path: string, folder: string) => void])[] = [
    ['a file', (path) => writeFileSync(path, 'precious')],
    ['a directory', (path) => mkdirSync(path)],
    ['a symbolic link', (path, folder) => {
      writeFileSync(join(folder, 'target'), 'precious');
      symlinkSync(join(folder, 'target'), path);
    }],
  ];
  for (const [what, make] of others) {
    test(`${what} at the path stays, and is named`, async (context) => {
      const folder = directory(context);
      const path = join(folder, 'listener');
      make(path, folder);
      const before = readdirSync(folder);
      for (const start of [() => startEngine([], { listen: { path } }), () => startTcp([], { listen: { port: undefined, path } })]) {
        await assert.rejects(start, { message: `cannot listen on ${path}: it is ${what}, and only a socket would be replaced` });
      }
      assert.deepEqual(readdirSync(folder), before);
      if (what !== 'a directory') assert.equal(readFileSync(path, 'utf8'), 'precious');
    });
  }
});

test('IPv6, as a listener and as an endpoint', async (context) => {
  const origin = createServer((_request, response) => response.end());
  origin.listen(0, '::1');
  const listening = await Promise.race([once(origin, 'listening').then(() => true), once(origin, 'error').then(() => false)]);
  if (!listening) return context.skip('this machine has no IPv6');
  const engine = await startEngine([{ host: '::1', port: (origin.address() as AddressInfo).port }], { listen: { host: '::1', port: 0 } });
  const response = await fetch(`http://[::1]:${engine.port}/`);
  assert.equal(response.status, 200);
  await response.text();
  const [exchange] = await engine.untilFinished(1);
  assert.equal(exchange!.clientAddress, '::1');
  await engine.close();
  origin.closeAllConnections();
  origin.close();
});

describe('a client that asks and resets its connection', () => {
  /** From another process, since this one is to accept when that is over. */
  const askAndReset = (port: number): void => {
    const script = `const socket = require('net').connect(${port}, '127.0.0.1', () => socket.write(${JSON.stringify(get)}, () => socket.resetAndDestroy()))`;
    execFileSync(process.execPath, ['-e', script]);
  };

  for (const kind of [Http1Listener, FastifyListener]) {
    test(`before it is accepted is not served as a client without an address (${kind.name})`, async (context) => {
      const origin = await httpOrigin((_request, response) => response.end());
      context.after(() => origin.close());
      const engine = await startEngine([origin.address], { kind });
      context.after(() => engine.close());
      askAndReset(engine.port);
      assert.match(await (await RawClient.connect(engine.port)).send(get).untilClosed(), / 200 /);
      assert.deepEqual(engine.finished.map(({ clientAddress }) => clientAddress), ['127.0.0.1']);
    });

    test(`behind its handshake keeps its address, or is not served (${kind.name})`, async (context) => {
      const authority = await TestAuthority.create();
      context.after(() => authority.remove());
      const shop = await authority.issue('shop', { dns: ['shop.test'] });
      const origin = await httpOrigin((_request, response) => response.end());
      context.after(() => origin.close());
      const engine = await startEngine([origin.address], { kind, tls: { ...shop, certificates: [], minVersion: 'TLSv1.2' } });
      context.after(() => engine.close());
      const dial = (plain: Socket): TLSSocket => connectTls({ socket: plain, servername: 'shop.test', ca: readFileSync(authority.ca) });
      const plain = connect(engine.port, '127.0.0.1').on('error', () => {});
      const hasty = dial(plain).on('error', () => {});
      hasty.once('secureConnect', () => {
        hasty.write(get);
        plain.resetAndDestroy();
      });
      await once(hasty, 'close');
      const patient = dial(connect(engine.port, '127.0.0.1'));
      patient.resume().write(get);
      await once(patient, 'close');
      assert.deepEqual([...new Set(engine.finished.map(({ clientAddress }) => clientAddress))], ['127.0.0.1']);
    });
  }

  test('before it is accepted is not joined to an endpoint (TCP)', async (context) => {
    const origin = await tcpOrigin((socket) => socket.end('hello'));
    context.after(() => origin.close());
    const tcp = await startTcp([origin.port]);
    context.after(() => tcp.close());
    askAndReset(tcp.port);
    assert.equal(await (await RawClient.connect(tcp.port)).untilClosed(), 'hello');
    assert.deepEqual((await tcp.untilOver(1)).map(({ clientAddress }) => clientAddress), ['127.0.0.1']);
  });
});

const v2 = (command: number, family: number, addresses: Buffer): Buffer =>
  Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'), Buffer.from([command, family, addresses.length >> 8, addresses.length & 255]), addresses]);
const ipv4 = Buffer.from([203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
const ipv6 = Buffer.concat([Buffer.from('20010db8000000000000000000000007', 'hex'), Buffer.alloc(16), Buffer.from([0x30, 0x39, 0, 80])]);
const mapped = Buffer.concat([Buffer.from('00000000000000000000ffffcb007107', 'hex'), ipv6.subarray(16)]);

describe('the PROXY protocol', () => {
  const good: readonly (readonly [name: string, header: Buffer | string, source: string | undefined])[] = [
    ['version 1, IPv4', 'PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\r\n', '203.0.113.7'],
    ['version 1, IPv6', 'PROXY TCP6 2001:db8::7 ::1 12345 80\r\n', '2001:db8::7'],
    ['version 1, IPv6 in another spelling', 'PROXY TCP6 2001:DB8:0::0007 ::1 12345 80\r\n', '2001:db8::7'],
    ['version 1, IPv4 mapped into IPv6', 'PROXY TCP6 ::FFFF:cb00:7107 ::1 12345 80\r\n', '203.0.113.7'],
    ['version 1, unknown', 'PROXY UNKNOWN\r\n', undefined],
    ['version 1, unknown with addresses', 'PROXY UNKNOWN ffff:f::f ffff::1 65535 65535\r\n', undefined],
    ['version 2, IPv4', v2(0x21, 0x11, ipv4), '203.0.113.7'],
    ['version 2, IPv6', v2(0x21, 0x21, ipv6), '2001:db8::7'],
    ['version 2, IPv4 mapped into IPv6', v2(0x21, 0x21, mapped), '203.0.113.7'],
    ['version 2 with extensions', v2(0x21, 0x11, Buffer.concat([ipv4, Buffer.from([4, 0, 1, 0])])), '203.0.113.7'],
    ['version 2, local', v2(0x20, 0, Buffer.alloc(0)), undefined],
    ['version 2, a Unix socket', v2(0x21, 0x31, Buffer.alloc(216)), undefined],
  ];
  for (const [name, header, source] of good) {
    test(`reads ${name}, however it is split`, () => {
      const bytes = Buffer.from(header as string, 'latin1');
      for (let length = 0; length < bytes.length; length++) assert.equal(parseProxyHeader(bytes.subarray(0, length)), undefined);
      assert.deepEqual(parseProxyHeader(Buffer.concat([bytes, Buffer.from(get)])), source === undefined ? { length: bytes.length, source } : { length: bytes.length, source, sourcePort: 12_345 });
    });
  }

  const bad: readonly (readonly [name: string, bytes: Buffer | string])[] = [
    ['a request without a header', get],
    ['a version 1 line that never ends', `PROXY TCP4 ${'1'.repeat(120)}`],
    ['an address that is none', 'PROXY TCP4 203.0.113.777 10.0.0.1 12345 80\r\n'],
    ['a port of the source that is none', `PROXY TCP4 203.0.113.7 10.0.0.1 99999 80\r\n${get}`],
    ['a port of the destination that is none', `PROXY TCP4 203.0.113.7 10.0.0.1 12345 65536\r\n${get}`],
    ['an IPv6 address as TCP4', 'PROXY TCP4 ::1 ::1 12345 80\r\n'],
    ['a line that ends with LF', 'PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\n\r\n'],
    ['version 3', v2(0x31, 0x11, ipv4)],
    ['an unknown command', v2(0x22, 0x11, ipv4)],
    ['addresses that are cut off', v2(0x21, 0x11, ipv4.subarray(0, 8))],
    ['a length beyond all bounds', Buffer.concat([v2(0x21, 0x11, ipv4).subarray(0, 14), Buffer.from([0xff, 0xff])])],
  ];
  for (const [name, bytes] of bad) {
    test(`refuses ${name}`, async () => {
      const engine = await startEngine([{ host: '127.0.0.1', port: 1 }], { listen: { port: 0, host: '127.0.0.1', proxyProtocol: { from: ['127.0.0.0/8'] } } });
      const client = await RawClient.connect(engine.port);
      assert.equal(await client.send(Buffer.from(bytes as string, 'latin1')).untilClosed(), '');
      assert.equal(engine.finished.length, 0);
      await engine.close();
    });
  }

  test('names the client of requests and of limits; only listed peers are asked for it', async () => {
    const origin = await httpOrigin((_request, response) => response.end());
    const listen = { port: 0, host: '127.0.0.1', proxyProtocol: { from: ['127.0.0.1'] } };
    const engine = await startEngine([origin.address], { listen, limits: { maxConnectionsPerClient: 1 } });
    const client = await RawClient.connect(engine.port);
    for (const part of ['PROXY TCP4 203.0.113.7 10.0.0.1 1234', `5 80\r\n${get.slice(0, 10)}`, get.slice(10)]) {
      client.send(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.match(await client.untilClosed(), /200 OK/);
    assert.equal(engine.finished[0]!.clientAddress, '203.0.113.7');
    const [first, second] = [await RawClient.connect(engine.port), await RawClient.connect(engine.port)];
    first.send('PROXY TCP4 203.0.113.7 10.0.0.1 1 80\r\nGET /');
    while (engine.listener.connectionCount === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await second.send(`PROXY TCP4 203.0.113.7 10.0.0.1 2 80\r\n${get}`).untilClosed(), '');
    await engine.close();

    const strangers = await startEngine([origin.address], { listen: { ...listen, proxyProtocol: { from: ['192.0.2.0/24'] } } });
    assert.match(await (await RawClient.connect(strangers.port)).send(get).untilClosed(), /200 OK/);
    assert.match(await (await RawClient.connect(strangers.port)).send(`PROXY TCP4 203.0.113.7 10.0.0.1 2 80\r\n${get}`).untilClosed(), /^HTTP\/1\.1 400 /);
    await strangers.close();
    await origin.close();
  });

  test('a peer that sends no header in time, or ends within it, is cut off and reported; one that only connects is not', async () => {
    const bad: string[] = [];
    const onBadHeader: OnBadHeader = (reason, peer) => bad.push(`${peer}: ${reason}`);
    const listen = { port: 0, host: '127.0.0.1', proxyProtocol: { from: ['127.0.0.1'] } };
    const [engine, tcp] = [await startEngine([], { listen, limits: { headTimeout: 100 }, onBadHeader }), await startTcp([], { listen, listener: { handshakeTimeout: '100ms' }, onBadHeader })];
    for (const { port } of [engine, tcp]) {
      await (await RawClient.connect(port)).untilClosed();
      await (await RawClient.connect(port)).send('PROXY TCP4').untilClosed();
      for (const text of ['PROXY TCP4', '']) {
        const client = await RawClient.connect(port);
        client.socket.end(text);
        await client.untilClosed();
      }
      const reasons = ['no PROXY protocol header came in time', 'only a part of a PROXY protocol header came in time', 'a PROXY protocol header that is cut off'];
      assert.deepEqual(bad.splice(0), reasons.map((reason) => `127.0.0.1: ${reason}`));
    }
    await engine.close();
    await tcp.close();
  });

  test('comes before TLS', async (context) => {
    const authority = await TestAuthority.create();
    context.after(() => authority.remove());
    const shop = await authority.issue('shop', { dns: ['shop.test'] });
    const origin = await httpOrigin((_request, response) => response.end());
    const engine = await startEngine([origin.address], {
      tls: { ...shop, certificates: [], minVersion: 'TLSv1.2' },
      listen: { port: 0, host: '127.0.0.1', proxyProtocol: { from: ['127.0.0.1'] } },
    });
    const plain = connect({ port: engine.port, host: '127.0.0.1' });
    plain.write('PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\r\n');
    const socket = connectTls({ socket: plain, servername: 'shop.test', ca: readFileSync(authority.ca) });
    socket.write(get);
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString()));
    await once(socket, 'close');
    assert.match(text, /200 OK/);
    assert.equal(engine.finished[0]!.clientAddress, '203.0.113.7');
    await engine.close();
    await origin.close();
  });
});

test('a port of another process is not taken', async () => {
  const other = createTcpServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  await assert.rejects(startEngine([{ host: '127.0.0.1', port: 1 }], { listen: { host: '127.0.0.1', port: (other.address() as AddressInfo).port } }), /EADDRINUSE/);
  other.close();
});
