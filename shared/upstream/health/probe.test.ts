import assert from 'node:assert/strict';
import { createServer as createTlsServer } from 'node:tls';
import { createSecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../../tests/support/certificates.js';
import { httpOrigin, refusedPort, tcpOrigin } from '../../../tests/support/origin.js';
import { systemClock } from '../../clock/clock.js';
import { healthCheckSchema } from '../../config/health.js';
import type { UpstreamProtocol } from '../../config/http2.js';
import type { Address } from '../../config/units.js';
import { ClientCredentials } from '../../tls/client-credentials.js';
import { PemStore } from '../../tls/pem-store.js';
import { probeOf, type ProbeFailure } from './probe.js';

function probe(config: object, address: Address, credentials?: ClientCredentials, protocol: UpstreamProtocol = 'h1'): Promise<ProbeFailure | undefined> {
  return new Promise((resolve) => probeOf(healthCheckSchema.parse(config), address, credentials, protocol)(resolve));
}

describe('probes', () => {
  const statuses: readonly (readonly [status: number, expected: readonly (number | string)[] | undefined, passes: boolean])[] = [
    [200, undefined, true], [302, undefined, true], [404, undefined, false], [500, undefined, false],
    [200, [204], false], [204, [204], true], [429, ['200-299', 429], true], [300, ['200-299', 429], false],
  ];
  for (const [status, expectedStatuses, passes] of statuses) {
    test(`${status} ${passes ? 'passes' : 'fails'} where ${expectedStatuses?.join(' and ') ?? 'nothing special'} is expected`, async () => {
      const origin = await httpOrigin((_request, response) => response.writeHead(status).end());
      const failure = await probe({ path: '/', ...(expectedStatuses && { expectedStatuses }) }, origin.address);
      assert.equal(failure?.kind, passes ? undefined : 'status');
      await origin.close();
    });
  }

  test('sends what it is told to, on a connection that it closes', async () => {
    const seen: unknown[] = [];
    const origin = await httpOrigin((request, response) => {
      seen.push([request.method, request.url, request.headers.host, request.headers['x-check'], request.headers.connection]);
      response.end('a body that nobody reads');
    });
    assert.equal(await probe({ path: '/healthz?deep=1', method: 'HEAD', host: 'orders.example', headers: { 'x-check': 'yes' } }, origin.address), undefined);
    assert.equal(await probe({ path: '/' }, origin.address), undefined);
    assert.deepEqual(seen, [['HEAD', '/healthz?deep=1', 'orders.example', 'yes', 'close'], ['GET', '/', `127.0.0.1:${origin.port}`, undefined, 'close']]);
    await origin.close();
  });

  const broken: readonly (readonly [name: string, behave: (socket: import('node:net').Socket) => void, kind: string])[] = [
    ['closes without a word', (socket) => socket.end(), 'protocol'],
    ['resets', (socket) => socket.resetAndDestroy(), 'protocol'],
    ['does not speak HTTP', (socket) => socket.write('SSH-2.0-something\r\n'), 'protocol'],
    ['sends fields without end', (socket) => socket.write(`HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20_000)}`), 'protocol'],
    ['sends interim answers without end', (socket) => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(11)), 'protocol'],
    ['switches protocols', (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'), 'status'],
  ];
  for (const [name, behave, kind] of broken) {
    test(`an endpoint that ${name} fails, and nothing else happens`, async () => {
      const origin = await tcpOrigin((socket) => socket.once('data', () => behave(socket)));
      assert.equal((await probe({ path: '/' }, origin.address))?.kind, kind);
      await origin.close();
    });
  }

  test('interim answers before the answer do no harm', async () => {
    const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end(`${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(10)}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`)));
    assert.equal(await probe({ path: '/' }, origin.address), undefined);
    await origin.close();
  });

  test('without a path, a connection is enough and a refused one is not', async () => {
    const origin = await tcpOrigin(() => {});
    assert.equal(await probe({}, origin.address), undefined);
    await origin.close();
    assert.equal((await probe({}, { host: '127.0.0.1', port: await refusedPort() }))?.kind, 'connect');
    assert.equal((await probe({ path: '/' }, { host: '127.0.0.1', port: await refusedPort() }))?.kind, 'connect');
  });

  test('a cancelled check closes its connection and reports nothing', async () => {
    let closed: (() => void) | undefined;
    const isClosed = new Promise<void>((resolve) => (closed = resolve));
    let reports = 0;
    const origin = await tcpOrigin((socket) => {
      socket.on('close', () => closed!());
      socket.once('data', () => check.cancel());
    });
    const check = probeOf(healthCheckSchema.parse({ path: '/' }), origin.address, undefined)(() => reports++);
    await isClosed;
    assert.equal(reports, 0);
    await origin.close();
  });

  describe('over TLS', () => {
    let authority: TestAuthority;
    let files: KeyPairFiles;
    let pems: PemStore;
    before(async () => {
      authority = await TestAuthority.create();
      files = await authority.issue('orders', { dns: ['orders.example'] });
      pems = new PemStore(systemClock);
    });
    after(() => {
      pems.close();
      authority.remove();
    });

    test('a check of an endpoint that speaks HTTP/2 alone passes without a path, and says so with one', async () => {
      const server = createSecureServer({ cert: readFileSync(files.cert), key: readFileSync(files.key), allowHTTP1: false });
      server.on('tlsClientError', () => {});
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
      const credentials = new ClientCredentials({ serverName: 'orders.example', minVersion: 'TLSv1.2', ca: authority.ca }, { pems, onReload: () => {} });
      for (const protocol of ['h2', 'auto'] as const) assert.equal(await probe({}, address, credentials, protocol), undefined);
      assert.match((await probe({ path: '/' }, address, credentials, 'h2'))!.detail, /a check with a path speaks HTTP\/1\.1/);
      server.close();
      await once(server, 'close');
    });

    for (const [path, kind] of [['/', 'HTTP'], [undefined, 'a handshake']] as const) {
      for (const [name, serverName, trusts, passes] of [['passes', 'orders.example', true, true], ['fails for another name', 'payments.example', true, false], ['fails for an unknown authority', 'orders.example', false, false]] as const) {
        test(`${kind} ${name}`, async () => {
          const options = { cert: readFileSync(files.cert), key: readFileSync(files.key) };
          const server = path === undefined ? createTlsServer(options) : createHttpsServer(options, (_request, response) => response.end());
          server.on('tlsClientError', () => {});
          server.listen(0, '127.0.0.1');
          await once(server, 'listening');
          const credentials = new ClientCredentials({ serverName, minVersion: 'TLSv1.2', ...(trusts && { ca: authority.ca }) }, { pems, onReload: () => {} });
          const failure = await probe(path === undefined ? {} : { path }, { host: '127.0.0.1', port: (server.address() as AddressInfo).port }, credentials);
          assert.equal(failure?.kind, passes ? undefined : 'connect', failure?.detail);
          server.close();
          await once(server, 'close');
        });
      }
    }
  });
});
