import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, get } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { systemClock } from '../../shared/clock/clock.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { route, service, TestControlPlane } from '../../tests/support/control-plane.js';
import { TestProcess } from '../../tests/support/process.js';
import type { Model } from '../model/model.js';
import { Access } from './access.js';
import { accessSchema } from './access-config.js';
import type { ApiError } from './problem.js';

const directory = mkdtempSync(join(tmpdir(), 'access-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
};
const of = { read: 'token-of-a-reader', write: 'token-of-a-writer', orders: 'token-of-orders-sidecars', node: 'token-of-one-orders-sidecar', users: 'token-of-users-sidecars', gateway: 'token-of-the-gateway' };
const access = {
  tokens: [
    { name: 'reader', role: 'read', token: of.read },
    { name: 'ci', role: 'write', sha256: createHash('sha256').update(of.write).digest('hex') },
    { name: 'orders', role: 'proxy', service: 'orders', tokenFile: file('orders.token', `${of.orders}\n`) },
    { name: 'orders-1', role: 'proxy', service: 'orders', node: 'orders-1', token: of.node },
    { name: 'users', role: 'proxy', service: 'users', token: of.users },
    { name: 'gateway', role: 'proxy', gateway: true, token: of.gateway },
  ],
};
const spiffe = (name: string, namespace = 'default'): string => `spiffe://shop.internal/ns/${namespace}/sa/${name}`;

describe('configuration of access', () => {
  const cases: readonly (readonly [name: string, config: object, problem: RegExp])[] = [
    ['beyond loopback without access', { listen: { host: '0.0.0.0', port: 0, allowPlaintext: true } }, /: access: is needed to listen on "0\.0\.0\.0"/],
    ['beyond loopback without TLS', { listen: { host: '::', port: 0 }, access }, /: listen\.tls: is needed .*allowPlaintext/],
    ['a proxy’s token that says of whom it is of nobody', { access: { tokens: [{ name: 'a', role: 'proxy', token: of.orders }] } }, /access\.tokens\[0\]\.role: .*service or gateway/],
    ['a service for a role that has none', { access: { tokens: [{ name: 'a', role: 'read', service: 'orders', token: of.read }] } }, /access\.tokens\[0\]\.role: .*for role proxy/],
    ['two ways to say the token', { access: { tokens: [{ name: 'a', role: 'read', token: of.read, tokenFile: '/x' }] } }, /access\.tokens\[0\]: exactly one of/],
    ['no token at all', { access: { tokens: [{ name: 'a', role: 'read' }] } }, /access\.tokens\[0\]: exactly one of/],
    ['a short token', { access: { tokens: [{ name: 'a', role: 'read', token: 'short' }] } }, /access\.tokens\[0\]\.token/],
    ['two of one name', { access: { tokens: [{ name: 'a', role: 'read', token: of.read }, { name: 'a', role: 'read', token: of.write }] } }, /access\.tokens: two tokens have the same name/],
    ['two with one token', { access: { tokens: [{ name: 'a', role: 'read', token: of.read }, { name: 'b', role: 'write', token: of.read }] } }, /access\.tokens\[1\]: b and a have the same token/],
    ['a file that is not there', { access: { tokens: [{ name: 'a', role: 'read', tokenFile: '/nowhere/token' }] } }, /access\.tokens\[0\]\.tokenFile: the file cannot be read \(ENOENT\)/],
    ['a file with no token in it', { access: { tokens: [{ name: 'a', role: 'read', tokenFile: file('empty.token', '\n') }] } }, /access\.tokens\[0\]\.tokenFile: .*16 characters/],
    ['identities, and nobody is asked for a certificate', { access: { identities: [{ identity: spiffe('ci'), role: 'write' }] } }, /access\.identities: .*clientAuth/],
    ['an identity that is none', { access: { identities: [{ identity: 'ci', role: 'write' }] } }, /access\.identities\[0\]\.identity: expected spiffe:/],
    ['certificates of any mesh', { listen: { host: '127.0.0.1', port: 0, tls: { cert: '/nowhere', key: '/nowhere', clientAuth: { ca: '/nowhere' } } }, access }, /access\.trustDomain: is needed with listen\.tls\.clientAuth/],
    ['two names of the mesh', { access: { ...access, trustDomain: 'dev.internal' }, ca: { trustDomain: 'shop.internal' } }, /access\.trustDomain: expected that of ca\.trustDomain/],
    ['the lists of before', { tokens: { admin: [of.write] } }, /tokens: unknown key/],
  ];
  for (const [name, config, problem] of cases) {
    test(`${name} is refused before anything listens`, async () => {
      const { code, stderr } = await new TestProcess('control-plane/main.js', { listen: { host: '127.0.0.1', port: 0 }, ...config }).exited;
      assert.equal(code, 64, stderr);
      assert.match(stderr, problem);
      for (const token of Object.values(of)) assert.ok(!stderr.includes(token), 'no token is shown');
    });
  }

  test('without access there is a warning; with it, or over plain HTTP where that is meant, there is none', async () => {
    const open = await TestControlPlane.start();
    await open.process.logged('there is no access control: everybody on this machine may do everything');
    await open.stop();
    const guarded = await TestControlPlane.start({ listen: { host: '0.0.0.0', allowPlaintext: true }, access });
    assert.equal((await guarded.ask('GET', '/v1/services')).status, 401);
    assert.doesNotMatch(guarded.process.stderr, /there is no access control/);
    await guarded.stop();
  });
});

describe('roles by token', () => {
  let plane: TestControlPlane;
  before(async () => {
    plane = await TestControlPlane.start({ access: { ...access, trustDomain: 'shop.internal' }, resources: [service('orders'), service('users'), route('r', 'orders'), { kind: 'Identity', name: 'orders-shop', service: 'orders', namespace: 'shop' }] });
  });
  after(() => plane.stop());

  test('each may do its own, and no more', async () => {
    const registration = { address: '127.0.0.1:1', ttl: '60s' };
    type Asked = readonly [method: string, path: string, body: unknown, allowed: readonly (keyof typeof of)[], status: number];
    const [readers, writers] = [['read', 'write'], ['write']] as const;
    const asks: readonly Asked[] = [
      ...['/v1/services', '/v1/services/orders', '/v1/services/orders/history', '/v1/routes', '/v1/policies', '/v1/identities', '/v1/history', '/v1/history/1', '/v1/status'].map((path): Asked => ['GET', path, undefined, readers, 200]),
      ['GET', '/v1/registry', undefined, ['read', 'write', 'orders', 'node', 'users', 'gateway'], 200],
      ['PUT', '/v1/services/orders', service('orders'), writers, 200],
      ['PUT', '/v1/services/orders?dryRun=true', service('orders'), writers, 200],
      ['POST', '/v1/services', service('orders'), writers, 409],
      ['POST', '/v1/apply', [service('orders')], writers, 200],
      ['POST', '/v1/rollback', { version: 1 }, writers, 200],
      ['DELETE', '/v1/services/orders', undefined, writers, 422],
      ['PUT', '/v1/registry/orders/orders-1', registration, ['write', 'orders', 'node'], 200],
      ['PUT', '/v1/registry/orders/orders-2', registration, ['write', 'orders'], 200],
      ['DELETE', '/v1/registry/orders/orders-2', undefined, ['write', 'orders'], 204],
      ['PUT', '/v1/registry/users/users-1', registration, ['write', 'users'], 200],
    ];
    for (const [method, path, body, allowed, status] of asks) {
      for (const name of Object.keys(of) as (keyof typeof of)[]) {
        const answer = await plane.ask(method, path, body, { token: of[name] });
        assert.equal(answer.status, allowed.includes(name) ? status : 403, `${method} ${path} by ${name}: ${answer.text}`);
        if (answer.status === 403) assert.match(answer.headers['www-authenticate']!, /insufficient_scope/);
      }
      for (const token of [undefined, 'nobody-has-this-token', `${of.write}x`, of.write.slice(0, -1)]) {
        const { status: refused, headers, body: document } = await plane.ask(method, path, body, { token });
        assert.deepEqual([refused, document.code, headers['www-authenticate']?.startsWith('Bearer')], [401, 'unauthenticated', true], `${method} ${path} with ${token ?? 'no token'}`);
      }
    }
    for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json']) assert.equal((await plane.ask('GET', path)).status, 200, path);
  });

  test('a token is a bearer token and nothing else', async () => {
    for (const authorization of [of.write, `Basic ${of.write}`, `Bearer ${of.write} ${of.write}`, 'Bearer', `Bearer ${'x'.repeat(5_000)}`]) {
      assert.equal((await plane.ask('GET', '/v1/services', undefined, { headers: { authorization } })).status, 401, authorization.slice(0, 40));
    }
    assert.equal((await plane.ask('GET', '/v1/services', undefined, { headers: { authorization: `bearer  ${of.write}` } })).status, 200);
  });

  test('who it was is in history', async () => {
    await plane.ask('PUT', '/v1/services/by-ci', service('by-ci'), { token: of.write });
    assert.equal((await plane.ask('GET', '/v1/history?limit=1', undefined, { token: of.read })).body.items[0]!.by, 'ci');
  });

  /** Status of the answer to a stream; the stream is left open until `close`. */
  function stream(token: string, path: string): Promise<{ status: number; close: () => void }> {
    return new Promise((resolve, reject) => {
      const socket = connect(plane.port, '127.0.0.1', () => socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`));
      socket.once('error', reject);
      socket.once('data', (data: Buffer) => resolve({ status: Number(data.toString().split(' ')[1]), close: () => void socket.destroy() }));
    });
  }

  test('a proxy sees its own snapshot alone', async () => {
    const cases: readonly (readonly [token: keyof typeof of, path: string, status: number])[] = [
      ['orders', '/v1/proxies/orders-9/stream?kind=sidecar&service=orders', 200], ['orders', '/v1/proxies/orders-9/stream?kind=sidecar&service=users', 403], ['orders', '/v1/proxies/g-9/stream?kind=gateway', 403],
      ['orders', '/v1/proxies/orders-9/stream?kind=sidecar', 403], ['node', '/v1/proxies/orders-1/stream?kind=sidecar&service=orders', 200], ['node', '/v1/proxies/orders-2/stream?kind=sidecar&service=orders', 403],
      ['gateway', '/v1/proxies/g-9/stream?kind=gateway', 200], ['gateway', '/v1/proxies/orders-9/stream?kind=sidecar&service=orders', 403], ['read', '/v1/proxies/g-9/stream?kind=gateway', 403], ['write', '/v1/proxies/any/stream?kind=gateway', 200],
    ];
    for (const [name, path, status] of cases) {
      const opened = await stream(of[name], path);
      opened.close();
      assert.equal(opened.status, status, `${name} ${path}`);
    }
  });

  test('a proxy neither takes the place of another, nor answers for it', async () => {
    const mine = await stream(of.orders, '/v1/proxies/shared-name/stream?kind=sidecar&service=orders');
    const theirs = await stream(of.users, '/v1/proxies/shared-name/stream?kind=sidecar&service=users');
    assert.deepEqual([mine.status, theirs.status], [200, 403]);
    const answer = { version: 'x', accepted: false, reason: 'forged' };
    assert.equal((await plane.ask('POST', '/v1/proxies/shared-name/status', answer, { token: of.users })).status, 403);
    assert.equal((await plane.ask('POST', '/v1/proxies/shared-name/status', answer, { token: of.gateway })).status, 403);
    assert.equal((await plane.ask('POST', '/v1/proxies/shared-name/status', answer, { token: of.orders })).status, 204);
    assert.equal((await plane.ask('POST', '/v1/proxies/nobody/status', answer, { token: of.orders })).status, 404);
    mine.close();
    theirs.close();
  });

  test('what is registered has an identity of its own service, and it is kept', async () => {
    const register = (identity: string, token: string): Promise<{ status: number }> => plane.ask('PUT', '/v1/registry/orders/with-identity', { address: '127.0.0.1:2', ttl: '60s', identity }, { token });
    assert.equal((await register(spiffe('users'), of.orders)).status, 403);
    assert.equal((await register(spiffe('users'), of.write)).status, 403);
    assert.equal((await register('spiffe://x', of.orders)).status, 422);
    assert.equal((await register(spiffe('orders', 'elsewhere'), of.orders)).status, 403, 'no resource says that it runs there');
    for (const token of [of.orders, of.write]) assert.equal((await register('spiffe://dev.internal/ns/default/sa/orders', token)).status, 403, 'it is of another mesh');
    assert.equal((await register(spiffe('orders', 'shop'), of.orders)).status, 200);
    const { instances } = (await plane.ask('GET', '/v1/registry', undefined, { token: of.orders })).body;
    assert.equal(instances.find(({ instance }) => instance === 'with-identity')!.identity, spiffe('orders', 'shop'));
    assert.ok(instances.every((one) => one.service === 'orders'), 'a proxy sees the instances of its own service');
    assert.deepEqual((await plane.ask('GET', '/v1/registry', undefined, { token: of.gateway })).body.instances, []);
  });

  test('a token file that is exchanged is read again, and the old token no longer known', async () => {
    file('orders.token', 'another-token-of-orders\n');
    await plane.process.logged('token files were read again');
    const ask = async (token: string): Promise<number> => (await plane.ask('GET', '/v1/registry', undefined, { token })).status;
    assert.deepEqual([await ask('another-token-of-orders'), await ask(of.orders)], [200, 401]);
  });
});

test('a certificate that has ended is not believed, be its session resumed or its connection still open', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const pem = ({ cert, key }: KeyPairFiles): { cert: Buffer; key: Buffer } => ({ cert: readFileSync(cert), key: readFileSync(key) });
  const ca = readFileSync(authority.ca);
  const ours = pem(await authority.issue('server', { ip: ['127.0.0.1'] }));
  const theirs = pem(await authority.issue('orders', { uri: [spiffe('orders')] }));
  const files = new PemStore(systemClock);
  context.after(() => files.close());
  let skew = 0;
  const judge = new Access(accessSchema.parse({}), {
    model: () => ({ identities: [] }) as unknown as Model, trustDomain: 'shop.internal', files, logger: createLogger({ name: 'test', level: 'silent' }),
    clock: { wallNow: () => Date.now() + skew },
  });
  const server = createServer({ ...ours, ca, requestCert: true, rejectUnauthorized: false }, (incoming, response) => {
    try {
      judge.check({ raw: incoming, headers: incoming.headers } as unknown as FastifyRequest, 'any');
    } catch (error) {
      response.statusCode = (error as ApiError).status;
    }
    response.end(String((incoming as unknown as { socket: TLSSocket }).socket.isSessionReused()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => server.close().closeAllConnections());
  const ask = (agent: Agent): Promise<string> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, agent, ca, ...theirs }, (answer) => {
        let text = `${answer.statusCode} `;
        answer.on('data', (data: Buffer) => (text += data.toString())).on('end', () => resolve(text));
      }).on('error', reject);
    });
  const [fresh, open] = [new Agent({ keepAlive: false }), new Agent({ keepAlive: true, maxSockets: 1 })];
  context.after(() => open.destroy());
  assert.deepEqual([await ask(fresh), await ask(fresh), await ask(open), await ask(open)], ['200 false', '200 true', '200 false', '200 false']);
  skew = 7_200_000;
  assert.deepEqual([await ask(fresh), await ask(open)], ['401 true', '401 false']);
});

describe('roles by certificate', () => {
  let authority: TestAuthority;
  let plane: TestControlPlane;
  const issue = (name: string, ...uri: string[]): Promise<KeyPairFiles> => authority.issue(name, { uri });
  before(async () => {
    authority = await TestAuthority.create();
    const server = await authority.issue('server', { ip: ['127.0.0.1'] });
    plane = await TestControlPlane.start(
      {
        listen: { host: '0.0.0.0', tls: { ...server, clientAuth: { ca: authority.ca, required: false } } },
        access: { trustDomain: 'shop.internal', tokens: [{ name: 'reader', role: 'read', token: of.read }], identities: [{ identity: spiffe('deployer', 'ci'), role: 'write' }, { identity: 'spiffe://ops.internal/ns/default/sa/auditor', role: 'read' }] },
        resources: [service('orders'), service('users'), { kind: 'Identity', name: 'users-shop', service: 'users', namespace: 'shop' }],
      },
      { ca: authority.ca },
    );
  });
  after(async () => {
    await plane.stop();
    authority.remove();
  });

  test('a name that configuration gives a role has it, and any other is the proxy of its service', async () => {
    const cases: readonly (readonly [uris: string[], read: number, write: number, orders: number, users: number])[] = [
      [[spiffe('deployer', 'ci')], 200, 200, 200, 200],
      [[spiffe('orders')], 403, 403, 200, 403],
      [[spiffe('users', 'shop')], 403, 403, 403, 200],
      [[spiffe('orders', 'shop')], 403, 403, 403, 403],
      [[spiffe('gateway')], 403, 403, 403, 403],
      [['spiffe://dev.internal/ns/default/sa/orders'], 403, 403, 403, 403],
      [['spiffe://dev.internal/ns/ci/sa/deployer'], 403, 403, 403, 403],
      [['spiffe://ops.internal/ns/default/sa/auditor'], 200, 403, 403, 403],
      [[], 401, 401, 401, 401],
      [['https://orders'], 401, 401, 401, 401],
      [[spiffe('orders'), spiffe('deployer', 'ci')], 401, 401, 401, 401],
    ];
    const registration = { address: '127.0.0.1:1', ttl: '60s' };
    for (const [index, [uris, ...expected]] of cases.entries()) {
      const certificate = await issue(`caller-${index}`, ...uris);
      const statuses = [
        (await plane.ask('GET', '/v1/services', undefined, { certificate })).status,
        (await plane.ask('PUT', '/v1/services/orders', service('orders'), { certificate })).status,
        (await plane.ask('PUT', '/v1/registry/orders/o', registration, { certificate })).status,
        (await plane.ask('PUT', '/v1/registry/users/u', registration, { certificate })).status,
      ];
      assert.deepEqual(statuses, expected, uris.join(' '));
    }
  });

  test('a proxy registers no other identity than the one it proves', async () => {
    const certificate = await issue('users-shop', spiffe('users', 'shop'));
    const register = async (identity: string): Promise<number> => (await plane.ask('PUT', '/v1/registry/users/u', { address: '127.0.0.1:1', ttl: '60s', identity }, { certificate })).status;
    assert.deepEqual([await register(spiffe('users')), await register(spiffe('users', 'shop'))], [403, 200]);
  });

  test('a certificate of another authority opens nothing, and a token goes without one', async () => {
    const foreign = await TestAuthority.create();
    const certificate = await foreign.issue('deployer', { uri: [spiffe('deployer', 'ci')] });
    await plane.ask('GET', '/v1/services', undefined, { certificate }).then(({ status }) => assert.equal(status, 401), (error: unknown) => assert.ok(error instanceof Error));
    foreign.remove();
    assert.equal((await plane.ask('GET', '/v1/services', undefined, { token: of.read })).status, 200);
    assert.equal((await plane.ask('GET', '/v1/services')).status, 401);
  });

  test('who changed something by certificate is in history by its name', async () => {
    const certificate = await issue('deployer', spiffe('deployer', 'ci'));
    await plane.ask('PUT', '/v1/services/new', service('new'), { certificate });
    assert.equal((await plane.ask('GET', '/v1/history?limit=1', undefined, { certificate })).body.items[0]!.by, spiffe('deployer', 'ci'));
  });

  test('a certificate of the API that is exchanged on disk is served without a restart', async () => {
    const other = await TestAuthority.create();
    const fresh = await other.issue('server', { ip: ['127.0.0.1'] });
    for (const part of ['key', 'crt']) writeFileSync(join(authority.directory, `server.${part}`), readFileSync(part === 'key' ? fresh.key : fresh.cert));
    await plane.process.logged('the certificates of the API were exchanged');
    await assert.rejects(plane.ask('GET', '/healthz'), 'the authority of before does not vouch for it');
    other.remove();
  });
});
