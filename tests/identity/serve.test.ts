import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from 'node:tls';
import { portIn, TestProcess } from '../support/process.js';

const listen = { host: '127.0.0.1', port: 0 };
const adminToken = 'an-admin-token-of-the-test';

describe('a control plane that serves https with a certificate of its own authority', () => {
  const directory = mkdtempSync(join(tmpdir(), 'serve-test-'));
  const roots = join(directory, 'data', 'ca', 'roots.pem');
  let controlPlane: TestProcess;
  let port = 0;
  before(async () => {
    controlPlane = new TestProcess('control-plane/main.js', { listen, dataDir: join(directory, 'data'), access: { tokens: [{ name: 'operator', role: 'write', token: adminToken }] }, ca: { trustDomain: 'shop.internal', certificateLifetime: '10s', bundleRefresh: '1s', overlap: '2s', serve: { names: ['localhost', '127.0.0.1'] } } });
    port = portIn(await controlPlane.logged('ready'), 'listen');
    writeFileSync(join(directory, 'admin-token'), `${adminToken}\n`);
  });
  after(async () => {
    for (const { child } of sidecars) child.kill('SIGKILL');
    await controlPlane.stop();
    rmSync(directory, { recursive: true });
  });

  async function lab(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [fileURLToPath(new URL('../../scenarios/main.js', import.meta.url)), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const out = { stdout: '', stderr: '' };
    child.stdout.on('data', (data: Buffer) => (out.stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (out.stderr += data.toString()));
    const [code] = (await once(child, 'close')) as [number];
    return { code, ...out };
  }

  const sidecars: TestProcess[] = [];
  const sidecar = (identity: object, more: object = {}): TestProcess => {
    const started = new TestProcess('sidecar/main.js', { service: 'orders', inbound: { listen, app: '127.0.0.1:1' }, admin: listen, identity: { directory: join(directory, 'identity'), ...identity }, controlPlane: { url: `https://127.0.0.1:${port}`, node: 'orders-1', ca: roots, ...more } });
    sidecars.push(started);
    return started;
  };

  test('enrols a proxy that has its root, by a token that was made on the command line', async () => {
    const made = await lab('join-token', 'orders', '--url', `https://localhost:${port}`, '--ca', roots, '--token-file', join(directory, 'admin-token'), '--ttl', '5m');
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    writeFileSync(join(directory, 'join-token'), made.stdout);
    const stranger = sidecar({ directory: join(directory, 'stranger'), joinTokenFile: join(directory, 'join-token') }, { ca: undefined });
    assert.match((await stranger.logged('there is no certificate yet; trying on'))['reason'] as string, /certificate/);
    assert.ok(!existsSync(join(directory, 'stranger', 'identity.pem')));
    await stranger.stop();
    const enrolled = sidecar({ joinTokenFile: join(directory, 'join-token') });
    await enrolled.logged('a certificate is in force');
    // Its certificate is all that it shows.
    await enrolled.logged('connected to the control plane');
    // The control plane's own certificate is exchanged with the root: the proxy knows the new one by its bundle, whatever `ca` says.
    const old = readFileSync(roots, 'utf8');
    writeFileSync(join(directory, 'old-roots.pem'), old);
    const response = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ca: old }, () => socket.write(`POST /v1/ca/rotate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${adminToken}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`));
      let text = '';
      socket.on('data', (data: Buffer) => (text += data.toString())).on('end', () => resolve(text)).on('error', reject);
    });
    assert.match(response, /^HTTP\/1\.1 202/);
    const before = (enrolled.stderr.match(/a certificate is in force/g) ?? []).length;
    await enrolled.logged('a certificate is in force', before + 4);
    assert.doesNotMatch(enrolled.stderr, /could not be renewed/);
    await enrolled.stop();
  });

  test('says on the command line what is wrong', async () => {
    const connection = ['--url', `https://127.0.0.1:${port}`, '--ca', roots] as const;
    for (const [args, reason] of [
      [['orders'], /answered 401/],
      [['Orders', '--token-file', join(directory, 'admin-token')], /service: expected lower-case/],
      [['orders', '--ttl', '30d', '--token-file', join(directory, 'admin-token')], /ttl: expected/],
    ] as const) {
      const { code, stdout, stderr } = await lab('join-token', ...args, ...connection);
      assert.deepEqual([code, stdout], [1, ''], stderr);
      assert.match(stderr, reason);
    }
  });
});

describe('an identity without a safe way to the control plane', () => {
  const check = async (controlPlane: object | undefined): Promise<{ code: number | null; stderr: string }> =>
    new TestProcess('sidecar/main.js', { service: 'orders', inbound: { listen, app: '127.0.0.1:1' }, identity: { directory: '/nowhere' }, ...(controlPlane && { controlPlane: { node: 'n', ...controlPlane } }) }, ['--check']).exited;

  test('is a wrong configuration', async () => {
    const missing = await check(undefined);
    assert.equal(missing.code, 64);
    assert.match(missing.stderr, /controlPlane: is missing: identity\.directory/);
    const plaintext = await check({ url: 'http://10.0.0.1:8070' });
    assert.equal(plaintext.code, 64);
    assert.match(plaintext.stderr, /controlPlane\.url: certificates are asked for over https, or on loopback/);
    for (const right of [{ url: 'https://10.0.0.1:8070' }, { url: 'http://127.0.0.1:8070' }, { url: 'http://[::1]:8070' }, { url: 'http://localhost:8070' }, { url: 'http://10.0.0.1:8070', allowPlaintext: true }]) {
      const { code, stderr } = await check(right);
      assert.equal(code, 0, stderr);
    }
  });

  test('of the control plane names what is wrong with the authority', async () => {
    const run = async (ca: object, more: object = {}): Promise<string> => {
      const { code, stderr } = await new TestProcess('control-plane/main.js', { listen, ca: { trustDomain: 'shop.internal', ...ca }, ...more }, ['--check']).exited;
      assert.equal(code, 64, stderr);
      return stderr;
    };
    assert.match(await run({}), /dataDir: is needed for ca/);
    assert.match(await run({ issuer: { cert: '/nowhere', key: '/nowhere' }, root: '/nowhere' }, { dataDir: '/tmp' }), /ca\.issuer\.cert: the file cannot be read \(ENOENT\)/);
    assert.match(await run({ issuer: { cert: 'a', key: 'b' } }, { dataDir: '/tmp' }), /ca\.root: issuer and root are given together/);
    assert.match(await run({ overlap: '10s' }, { dataDir: '/tmp' }), /ca\.overlap: must be at least twice bundleRefresh/);
    assert.match(await run({ trustDomain: 'Shop' }, { dataDir: '/tmp' }), /ca\.trustDomain: expected a lower-case DNS name/);
    assert.match(await run({ workloads: [{ issuer: 'i', audience: 'a' }] }, { dataDir: '/tmp' }), /ca\.workloads\[0\].*exactly one of jwksUri and jwks/);
  });
});
