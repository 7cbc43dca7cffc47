import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { httpOrigin } from '../../tests/support/origin.js';
import { portIn, TestProcess } from '../../tests/support/process.js';
import { RawClient } from '../../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };
const skip = process.platform === 'win32' ? 'there are no such signals' : false;

interface Busy {
  readonly gateway: TestProcess;
  readonly client: RawClient;
  /** Has the origin answer the request that is in flight. */
  readonly answer: () => void;
  readonly ask: (path: string, method?: string) => Promise<number>;
  /** Sends a request through it; one for /quick is answered at once. */
  readonly send: (path: string) => Promise<number>;
}

/** A gateway with a request in flight. */
async function start(context: TestContext, workers: number): Promise<Busy> {
  let answer: (() => void) | undefined;
  let arrived: (() => void) | undefined;
  const asked = new Promise<void>((resolve) => (arrived = resolve));
  const origin = await httpOrigin((request, response) => {
    if (request.url === '/quick') return void response.end();
    answer = () => response.end('done');
    arrived!();
  });
  const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, workers, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } });
  context.after(async () => {
    gateway.child.kill('SIGKILL');
    await origin.close();
  });
  const ready = await gateway.logged('ready');
  const client = await RawClient.connect(portIn(ready, 'listen'));
  client.send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
  await asked;
  const statusOf = async (listener: string, path: string, method = 'GET'): Promise<number> => (await fetch(`http://127.0.0.1:${portIn(ready, listener)}${path}`, { method })).status;
  const ask = (path: string, method?: string): Promise<number> => statusOf('admin', path, method);
  const send = (path: string): Promise<number> => statusOf('listen', path);
  return { gateway, client, answer: answer!, ask, send };
}

for (const workers of [1, 2]) {
  describe(`a drain, workers: ${workers}`, { skip }, () => {
    const more: readonly (readonly [name: string, again: (busy: Busy) => Promise<unknown> | boolean])[] = [
      ['POST /drain once more', ({ ask }) => ask('/drain', 'POST')],
      ['the SIGTERM of whoever asked for it', ({ gateway }) => gateway.child.kill('SIGTERM')],
    ];
    for (const [name, again] of more) {
      test(`that POST /drain began is not broken off by ${name}`, async (context) => {
        const busy = await start(context, workers);
        assert.equal(await busy.ask('/drain', 'POST'), 202);
        await again(busy);
        assert.deepEqual([await busy.ask('/readyz'), await busy.ask('/readyz')], [503, 503]);
        busy.answer();
        assert.match(await busy.client.untilClosed(), /done$/);
        assert.equal((await busy.gateway.exited).code, 0);
      });
    }

    test('is broken off by a second signal, and what was over by then is in the access log', async (context) => {
      const { gateway, client, send } = await start(context, workers);
      assert.equal(await send('/quick'), 200);
      gateway.child.kill('SIGTERM');
      await gateway.logged('draining');
      gateway.child.kill('SIGTERM');
      const { code, stdout } = await gateway.exited;
      assert.equal(code, 143);
      assert.match(stdout, /"path":"\/quick"/);
      assert.equal(await client.untilClosed(), '');
    });
  });
}

test('SIGTERM while a sidecar starts: it opens nothing more, and is not put into the registry', { skip }, async (context) => {
  const asked: string[] = [];
  const controlPlane = await httpOrigin((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('{}');
  });
  let answer: (() => void) | undefined;
  let arrived: (() => void) | undefined;
  const probed = new Promise<void>((resolve) => (arrived = resolve));
  const app = await httpOrigin((_request, response) => {
    answer = () => response.end();
    arrived!();
  });
  const sidecar = new TestProcess('sidecar/main.js', {
    service: 'orders', admin: listen, drainDelay: '500ms',
    inbound: { listen, app: `127.0.0.1:${app.port}`, health: { path: '/health' } },
    controlPlane: { url: `http://127.0.0.1:${controlPlane.port}`, node: 'one', advertise: '127.0.0.1:1' },
  });
  context.after(async () => {
    sidecar.child.kill('SIGKILL');
    await Promise.all([app.close(), controlPlane.close()]);
  });
  await probed;
  sidecar.child.kill('SIGTERM');
  await sidecar.logged('draining');
  answer!();
  const { code, stderr } = await sidecar.exited;
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /"msg":"ready"/);
  assert.deepEqual(asked, []);
});

test('SIGUSR1 opens no debugger', { skip }, async (context) => {
  const { gateway, client, answer, ask } = await start(context, 2);
  const workers = await Promise.all([1, 2].map((count) => gateway.logged('a worker has started', count)));
  for (const pid of [gateway.child.pid!, ...workers.map((line) => Number(line['workerPid']))]) process.kill(pid, 'SIGUSR1');
  // Every one of them answers to this, after the signal.
  assert.deepEqual([await ask('/metrics'), await ask('/metrics')], [200, 200]);
  answer();
  assert.match(await client.until((text) => text.endsWith('done')), /^HTTP\/1\.1 200 /);
  const { code, stderr } = await gateway.stop();
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /debugger|inspector/i);
});
