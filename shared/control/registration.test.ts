import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { systemClock } from '../clock/clock.js';
import { FakeClock, settle } from '../clock/fake-clock.js';
import { silentLogger } from '../telemetry/logger.js';
import { PemStore } from '../tls/pem-store.js';
import { ControlPlaneLink } from './control-plane-link.js';
import { Registration } from './registration.js';

const about = { service: 'orders', instance: 'orders-1', address: '10.0.0.1:80', identity: () => undefined, ttlMs: 30_000, logger: silentLogger };

/** A control plane behind a link that loses answers, or holds them. */
function setUp() {
  const clock = new FakeClock();
  const state = { isHealthy: true, isIn: false, loses: false, requests: [] as string[], held: undefined as Promise<void> | undefined };
  const ask = async (_url: string, _path: string, { method }: { method: string }): Promise<object> => {
    const { loses, held } = state;
    state.requests.push(method);
    state.isIn = method === 'PUT';
    await held;
    if (loses) throw new Error('no answer within 2 s');
    return { status: 200, discard() {} };
  };
  const link = { url: 'http://control-plane', failed: () => false, ask } as unknown as ControlPlaneLink;
  const registration = new Registration({ ...about, link, clock, isHealthy: () => state.isHealthy });
  return { clock, state, registration };
}

describe('a registration', () => {
  test('of which the answer was lost is taken out when the process leaves', async () => {
    const { state, registration } = setUp();
    state.loses = true;
    await registration.start();
    assert.ok(state.isIn);
    state.loses = false;
    assert.equal(await registration.close(), true);
    assert.deepEqual(state.requests, ['PUT', 'DELETE']);
  });

  test('of which the answer was lost is taken out when the application fails', async () => {
    const { clock, state, registration } = setUp();
    state.loses = true;
    await registration.start();
    Object.assign(state, { loses: false, isHealthy: false });
    await clock.advance(500);
    assert.equal(state.isIn, false);
    await registration.close();
  });

  test('that was never asked for is not taken out', async () => {
    const { clock, state, registration } = setUp();
    state.isHealthy = false;
    await registration.start();
    await clock.advance(5_000);
    assert.equal(await registration.close(), false);
    assert.deepEqual(state.requests, []);
  });

  test('that was taken out, without an answer, is made again as soon as the application is healthy', async () => {
    const { clock, state, registration } = setUp();
    await registration.start();
    Object.assign(state, { isHealthy: false, loses: true });
    await clock.advance(500);
    assert.equal(state.isIn, false);
    Object.assign(state, { isHealthy: true, loses: false });
    await clock.advance(500);
    assert.ok(state.isIn);
    await clock.advance(5_000);
    assert.deepEqual(state.requests, ['PUT', 'DELETE', 'PUT']);
    await registration.close();
  });

  test('is renewed once more when that is asked for while a renewal is under way', async () => {
    const { clock, state, registration } = setUp();
    await registration.start();
    let answer!: () => void;
    state.held = new Promise((resolve) => (answer = resolve));
    await clock.advance(9_500);
    assert.equal(state.requests.length, 2);
    registration.renew();
    state.held = undefined;
    answer();
    await settle();
    await clock.advance(5_000);
    assert.deepEqual(state.requests, ['PUT', 'PUT', 'PUT']);
    await registration.close();
    assert.equal(clock.pending, 0);
  });
});

describe('several control planes', () => {
  async function listen(handle: (method: string) => number): Promise<{ server: Server; url: string }> {
    const server = createServer((request, response) => {
      const status = handle(request.method!);
      request.resume().on('end', () => response.writeHead(status).end());
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  async function stop({ server }: { server: Server }): Promise<void> {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  for (const dead of [1, 2]) {
    test(`of which ${dead} of 3 ${dead === 1 ? 'is' : 'are'} dead when the process leaves: the next takes the instance out`, async () => {
      const asked: string[] = [];
      const planes = await Promise.all([0, 1, 2].map((index) => listen((method) => asked.push(`${method} ${index}`) && (method === 'PUT' ? 200 : 204))));
      const link = new ControlPlaneLink({ urls: planes.map(({ url }) => url), pems: new PemStore(systemClock), clock: systemClock, random: () => 0, logger: silentLogger });
      const registration = new Registration({ ...about, link, clock: systemClock, isHealthy: () => true });
      await registration.start();
      for (const plane of planes.slice(0, dead)) await stop(plane);
      assert.equal(await registration.close(), true);
      assert.deepEqual(asked, ['PUT 0', `DELETE ${dead}`]);
      for (const plane of planes.slice(dead)) await stop(plane);
      link.close();
    });
  }

  test('that are all dead are each asked once', async () => {
    const planes = await Promise.all([0, 1].map(() => listen(() => 200)));
    const failed: string[] = [];
    class Watched extends ControlPlaneLink {
      override failed(url: string): boolean {
        failed.push(url);
        return super.failed(url);
      }
    }
    const link = new Watched({ urls: planes.map(({ url }) => url), pems: new PemStore(systemClock), clock: systemClock, random: () => 0, logger: silentLogger });
    const registration = new Registration({ ...about, link, clock: systemClock, isHealthy: () => true });
    await registration.start();
    for (const plane of planes) await stop(plane);
    assert.equal(await registration.close(), false);
    assert.deepEqual(failed, planes.map(({ url }) => url));
    link.close();
  });
});
