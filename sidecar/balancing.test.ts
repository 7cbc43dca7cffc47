import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import { describe, test } from 'node:test';
import { freePort } from '../scenarios/lab/free-port.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';
import { portIn, TestProcess } from '../tests/support/process.js';

const listen = { host: '127.0.0.1', port: 0 };
const breaker = { volumeThreshold: 1, resetTimeout: '100ms' };

/** A service that says its name, and can be taken away and brought back. */
class Instance {
  #server: Server | undefined;
  #port: number | undefined;

  constructor(private readonly name: string) {}

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    const server = createServer((_request, response) => response.end(this.name));
    this.#server = server;
    this.#port ??= await freePort();
    await once(server.listen(this.#port, '127.0.0.1'), 'listening');
    return this;
  }

  stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }
}

async function start(zone: string | undefined, inventory: object) {
  const process = new TestProcess('sidecar/main.js', { service: 'orders', outbound: { listen }, admin: listen, accessLog: false, ...(zone !== undefined && { zone }), upstreams: { inventory } });
  const ready = await process.logged('ready');
  const admin = (path: string) => fetch(`http://127.0.0.1:${portIn(ready, 'admin')}${path}`);
  return {
    process,
    ask: () =>
      new Promise<string>((resolve, reject) => {
        request({ host: '127.0.0.1', port: portIn(ready, 'outbound'), path: 'http://inventory/', headers: { host: 'inventory' } }, (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (text: string) => (body += text)).on('end', () => resolve(response.statusCode === 200 ? body : String(response.statusCode)));
        })
          .on('error', reject)
          .end();
      }),
    upstream: async () => ((await (await admin('/upstreams')).json()) as UpstreamDescription[])[0]!,
    panic: async () => /^proxy_upstream_panic\{upstream="inventory"\} (\d)$/m.exec(await (await admin('/metrics')).text())?.[1],
  };
}

describe('a sidecar in a zone', () => {
  test('calls its own zone, the other one while its own is dead, and its own again; no call is lost', async () => {
    const near = await new Instance('near').start();
    const far = await new Instance('far').start();
    const sidecar = await start('a', { endpoints: [{ address: far.address, zone: 'b' }, { address: near.address, zone: 'a' }], breaker, retry: { attempts: 2 } });
    for (let index = 0; index < 5; index++) assert.equal(await sidecar.ask(), 'near');
    await near.stop();
    for (let index = 0; index < 10; index++) assert.equal(await sidecar.ask(), 'far');
    assert.deepEqual((await sidecar.upstream()).groups.map(({ zone }) => zone), ['own', 'other']);
    await near.start();
    while ((await sidecar.ask()) !== 'near');
    for (let index = 0; index < 5; index++) assert.equal(await sidecar.ask(), 'near');
    await sidecar.process.stop();
    await Promise.all([near.stop(), far.stop()]);
  });
});

describe('a sidecar whose upstream is mostly dead', () => {
  test('says that it ignores health, in log, metric and /upstreams, goes on serving, and takes it back', async () => {
    const instances = await Promise.all(['one', 'two', 'three'].map((name) => new Instance(name).start()));
    const [one, two] = instances;
    const sidecar = await start(undefined, { endpoints: instances.map(({ address }) => address), healthCheck: { interval: '50ms', unhealthyThreshold: 2 }, retry: { attempts: 3 }, balance: { algorithm: 'round-robin' } });
    assert.equal(await sidecar.panic(), '0');
    await Promise.all([one!.stop(), two!.stop()]);
    while ((await sidecar.panic()) !== '1') assert.equal(await sidecar.ask(), 'three');
    for (let index = 0; index < 10; index++) assert.equal(await sidecar.ask(), 'three');
    await sidecar.process.logged('too few endpoints are healthy: health is ignored');
    await Promise.all([one!.start(), two!.start()]);
    while ((await sidecar.panic()) !== '0') await sidecar.ask();
    assert.equal((await sidecar.upstream()).panic, false);
    await sidecar.process.logged('enough endpoints are healthy again');
    await sidecar.process.stop();
    await Promise.all(instances.map((instance) => instance.stop()));
  });
});

test('what contradicts itself in balancing is named before a port opens', async () => {
  const { code, stderr } = await new TestProcess('sidecar/main.js', { service: 'orders', zone: '', outbound: { listen }, upstreams: { a: { endpoints: [{ address: '127.0.0.1:1', weigth: 2 }], balance: { algorithm: 'ring-hash' } } } }).exited;
  assert.equal(code, 64);
  for (const expected of [/zone: /, /upstreams\.a\.endpoints\[0\]\.weigth: unknown key/, /upstreams\.a\.balance\.hash: ring-hash needs to know what to hash/]) assert.match(stderr, expected);
});
