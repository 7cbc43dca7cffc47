import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { TokenIssuer } from '../../tests/authorization/tokens.js';
import { TestAuthority } from '../../tests/support/certificates.js';
import { TestControlPlane } from '../../tests/support/control-plane.js';
import { httpOrigin, type Origin } from '../../tests/support/origin.js';
import { portIn, TestProcess } from '../../tests/support/process.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { until } from '../../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: origin\r\n\r\n';

async function originThatSays(context: TestContext, text: string): Promise<Origin> {
  const origin = await httpOrigin((_incoming, response) => response.end(text));
  context.after(() => origin.close());
  return origin;
}

function start(context: TestContext, config: object, entry = 'gateway/main.js'): TestProcess {
  const proxy = new TestProcess(entry, config);
  context.after(() => proxy.child.kill('SIGKILL'));
  return proxy;
}

function gatewayTo({ port }: Origin, more: object = {}): Record<string, unknown> {
  return { listen, admin: listen, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${port}`] } }, ...more };
}

/** Asked on a connection of its own: one that is kept stays with the configuration that it met until it has been answered once more. */
async function textOf(ready: Record<string, unknown>, name: string, path = '/'): Promise<string> {
  return (await fetch(`http://127.0.0.1:${portIn(ready, name)}${path}`, { headers: { connection: 'close' } })).text();
}

for (const workers of [1, 2]) {
  describe(`SIGHUP, workers: ${workers}`, () => {
    test('exchanges routes and upstreams, and names what takes a restart', async (context) => {
      const gateway = start(context, gatewayTo(await originThatSays(context, 'one'), { workers }));
      const ready = await gateway.logged('ready');
      assert.equal(await textOf(ready, 'listen'), 'one');
      gateway.reload(gatewayTo(await originThatSays(context, 'other'), { workers, logLevel: 'fatal', drainTimeout: '7s' }));
      await gateway.logged('reloaded');
      assert.equal(await textOf(ready, 'listen'), 'other');
      assert.deepEqual((await gateway.logged('these parts stay as they were until the next restart'))['parts'], ['logLevel', 'drainTimeout']);
      const { logLevel, drainTimeout } = JSON.parse(await textOf(ready, 'admin', '/config')) as Record<string, unknown>;
      assert.deepEqual({ logLevel, drainTimeout }, { logLevel: 'info', drainTimeout: 30_000 });
    });

    test('reads files with keys of tokens again', async (context) => {
      const issuers = await Promise.all([TokenIssuer.create(), TokenIssuer.create()]);
      const tokens = await Promise.all(issuers.map((issuer) => issuer.token()));
      const directory = mkdtempSync(join(tmpdir(), 'jwks-'));
      context.after(() => rmSync(directory, { recursive: true }));
      const file = join(directory, 'jwks.json');
      const writeKeysOf = ({ policy }: TokenIssuer): void => writeFileSync(file, JSON.stringify(policy.jwks));
      writeKeysOf(issuers[0]);
      const config = gatewayTo(await originThatSays(context, 'hello'), { workers, routes: [{ upstream: 'origin', jwt: { ...issuers[0].policy, jwks: file } }] });
      const gateway = start(context, config);
      const port = portIn(await gateway.logged('ready'), 'listen');
      const statuses = (): Promise<number[]> => Promise.all(tokens.map(async (token) => (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close', authorization: `Bearer ${token}` } })).status));
      assert.deepEqual(await statuses(), [200, 401]);
      writeKeysOf(issuers[1]);
      gateway.reload(config);
      await gateway.logged('reloaded');
      assert.deepEqual(await statuses(), [401, 200]);
    });

    test('refuses a file that makes somebody else of the proxy', async (context) => {
      const gateway = start(context, gatewayTo(await originThatSays(context, 'one'), { workers }));
      const ready = await gateway.logged('ready');
      gateway.reload(gatewayTo(await originThatSays(context, 'other'), { workers, zone: 'b' }));
      assert.match(String((await gateway.logged('the configuration could not be exchanged; the old one stays'))['reason']), /: zone\. That takes a restart$/);
      assert.equal(await textOf(ready, 'listen'), 'one');
    });
  });
}

test('SIGHUP while the process starts is done when it has', async (context) => {
  const gateway = start(context, gatewayTo(await originThatSays(context, 'one'), { workers: 2 }));
  await gateway.logged('a worker has started');
  gateway.reload(gatewayTo(await originThatSays(context, 'other'), { workers: 2 }));
  await gateway.logged('reloaded');
  assert.equal(await textOf(await gateway.logged('ready'), 'listen'), 'other');
});

describe('SIGHUP before the configuration is read', () => {
  // Sends it as soon as somebody listens.
  const script = "process.once('newListener', (name) => name === 'SIGHUP' && setImmediate(() => process.kill(process.pid, 'SIGHUP')) && console.error('listens'))";
  const environment = { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(script)}"` };

  test('does not end the process', async () => {
    for (const entry of ['gateway/main.js', 'sidecar/main.js', 'control-plane/main.js']) {
      const { code, stderr } = await new TestProcess(entry, { unknown: true }, [], environment).exited;
      assert.equal(code, 64);
      assert.match(stderr, /^listens$/m);
    }
  });

  test('is done when it has started', async (context) => {
    const gateway = new TestProcess('gateway/main.js', gatewayTo(await originThatSays(context, 'one')), [], environment);
    context.after(() => gateway.child.kill('SIGKILL'));
    await gateway.logged('ready');
    await gateway.logged('reloaded');
  });
});

test('without workers, what only a restart can exchange is refused', async (context) => {
  const gateway = start(context, gatewayTo(await originThatSays(context, 'one')));
  await gateway.logged('ready');
  gateway.reload(gatewayTo(await originThatSays(context, 'other'), { limits: { maxHeaders: 7 } }));
  assert.match(String((await gateway.logged('the configuration could not be exchanged; the old one stays'))['reason']), /takes a restart/);
});

describe('a reload with workers', () => {
  for (const http2 of ['engine', 'fastify']) {
    test(`leaves a connection that waits for its next request until it has been answered (http2: ${http2})`, async (context) => {
      const authority = await TestAuthority.create();
      const tls = await authority.issue('shop', { dns: ['shop.test'] });
      const config = gatewayTo(await originThatSays(context, 'hello'), { workers: 2, listen: { ...listen, http2, tls } });
      const gateway = start(context, config);
      const client = connectTls({ host: '127.0.0.1', port: portIn(await gateway.logged('ready'), 'listen'), servername: 'shop.test', ca: readFileSync(authority.ca), ALPNProtocols: ['http/1.1'] });
      let text = '';
      client.on('data', (data: Buffer) => (text += data.toString()));
      const answers = async (count: number): Promise<string[]> => {
        while (text.split('hello').length <= count) await once(client, 'data');
        return text.split('hello');
      };
      client.write(get);
      await answers(1);
      gateway.reload(config);
      await gateway.logged('reloaded');
      client.write(get);
      const [first, second] = await answers(2);
      assert.doesNotMatch(first!, /connection: close/i);
      assert.match(second!, /connection: close/i);
      await once(client, 'close');
      assert.equal((await gateway.stop()).code, 0);
    });
  }

  test('has the application’s new connections taken by the new workers, whatever the old ones still serve', async (context) => {
    const app = await httpOrigin((_incoming, response) => response.write('begun'));
    context.after(() => app.close());
    const configOf = ({ port }: Origin): object => ({
      service: 'orders',
      workers: 2,
      inbound: { listen, app: `127.0.0.1:${app.port}` },
      outbound: { listen },
      admin: listen,
      upstreams: { origin: { endpoints: [`127.0.0.1:${port}`] } },
    });
    const sidecar = start(context, configOf(await originThatSays(context, 'one')), 'sidecar/main.js');
    const ready = await sidecar.logged('ready');
    for (let requests = 0; requests < 2; requests++) {
      const client = await RawClient.connect(portIn(ready, 'inbound'));
      context.after(() => client.close());
      await client.send(get).until((text) => text.includes('begun'));
    }
    sidecar.reload(configOf(await originThatSays(context, 'other')));
    await sidecar.logged('reloaded');
    for (let requests = 0; requests < 4; requests++) {
      const client = await RawClient.connect(portIn(ready, 'outbound'));
      assert.match(await client.send(get).until((text) => /one$|other$/.test(text)), /other$/);
      client.close();
    }
  });
});

test('with workers, a registration stands for the application that the file names now', async (context) => {
  const controlPlane = await TestControlPlane.start();
  context.after(() => controlPlane.stop());
  const [before, after] = [await httpOrigin((_incoming, response) => response.end('before')), await originThatSays(context, 'after')];
  const configOf = ({ port }: Origin): object => ({ service: 'orders', workers: 2, admin: listen, inbound: { listen, app: `127.0.0.1:${port}`, health: { interval: '50ms' } }, controlPlane: { url: controlPlane.url, node: 'n1', advertise: '127.0.0.1:15006', leaseTtl: '1s' } });
  const sidecar = start(context, configOf(before), 'sidecar/main.js');
  const registered = async (): Promise<boolean> => JSON.stringify(await controlPlane.ask('GET', '/v1/registry')).includes('127.0.0.1:15006');
  await sidecar.logged('ready');
  await until(registered);
  sidecar.reload(configOf(after));
  await sidecar.logged('reloaded');
  await before.close();
  sidecar.reload(configOf(before));
  await sidecar.logged('reloaded', 2);
  await until(async () => !(await registered()));
  sidecar.reload(configOf(after));
  await sidecar.logged('reloaded', 3);
  await until(registered);
});
