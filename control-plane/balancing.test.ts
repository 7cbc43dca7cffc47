import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';
import { httpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';

const listen = { host: '127.0.0.1', port: 0 };

async function start(resources: readonly object[]) {
  const plane = new TestProcess('control-plane/main.js', { listen, resources });
  const url = `http://127.0.0.1:${portIn(await plane.logged('ready'), 'listen')}`;
  const api = async (method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(url + path, { method, ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) });
    return { status: response.status, body: await response.json() };
  };
  const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, zone: 'a', controlPlane: { url, node: 'gateway' } });
  const ready = await gateway.logged('ready');
  return {
    plane, url, api, gateway,
    ask: async (headers: Record<string, string> = {}) => (await fetch(`http://127.0.0.1:${portIn(ready, 'listen')}/`, { headers })).text(),
    upstreams: async () => (await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/upstreams`)).json()) as UpstreamDescription[],
    settled: async () => assert.equal((await api('GET', '/v1/status?settled=true')).status, 200),
  };
}

describe('the control plane tells proxies what to balance by', () => {
  test('weights, zones and labels of fixed endpoints, a service’s balancing, and the subset of a route', async () => {
    const [one, two] = await Promise.all(['one', 'two'].map((name) => httpOrigin((_request, response) => response.end(name))));
    const lab = await start([
      { kind: 'Service', name: 'orders', endpoints: [{ address: `127.0.0.1:${one!.port}`, zone: 'a', weight: 3, labels: { version: 'v1' } }, { address: `127.0.0.1:${two!.port}`, labels: { version: 'v2' } }] },
      { kind: 'Route', name: 'canary', match: { headers: { 'x-version': 'v2' } }, service: 'orders', subset: { version: 'v2' } },
      { kind: 'Route', name: 'all', service: 'orders', subset: { version: 'v1' } },
      { kind: 'Policy', name: 'turns', placement: 'ambassador', target: { services: ['orders'] }, spec: { balance: { algorithm: 'round-robin' } } },
    ]);
    for (let index = 0; index < 4; index++) {
      assert.equal(await lab.ask(), 'one');
      assert.equal(await lab.ask({ 'x-version': 'v2' }), 'two');
    }
    const [orders] = await lab.upstreams();
    assert.equal(orders!.algorithm, 'round-robin');
    assert.deepEqual(orders!.endpoints.map(({ weight, zone, labels }) => [weight, zone, labels]), [[3, 'a', { version: 'v1' }], [1, null, { version: 'v2' }]]);
    await Promise.all([lab.gateway.stop(), lab.plane.stop(), one!.close(), two!.close()]);
  });

  test('what a sidecar registers beside its address, and that it changes', async () => {
    const origin = await httpOrigin((_request, response) => response.end('hello'));
    const address = `127.0.0.1:${origin.port}`;
    const lab = await start([{ kind: 'Service', name: 'orders' }, { kind: 'Route', name: 'all', service: 'orders' }]);
    const sidecar = new TestProcess('sidecar/main.js', {
      service: 'orders', zone: 'b', inbound: { listen, app: address }, admin: listen,
      controlPlane: { url: lab.url, node: 'orders-1', advertise: address, weight: 5, labels: { version: 'v7' } },
    });
    await sidecar.logged('registered');
    await lab.settled();
    const seen = async (): Promise<unknown> => (await lab.upstreams())[0]!.endpoints.map((endpoint) => [endpoint.address, endpoint.weight, endpoint.zone, endpoint.labels]);
    assert.deepEqual(await seen(), [[address, 5, 'b', { version: 'v7' }]]);
    const { body } = await lab.api('GET', '/v1/registry');
    const [instance] = (body as { instances: Record<string, unknown>[] }).instances;
    assert.deepEqual([instance!['instance'], instance!['address'], instance!['zone'], instance!['weight']], ['orders-1', address, 'b', 5]);
    await sidecar.stop();
    await lab.api('PUT', '/v1/registry/orders/orders-2', { address, ttl: '60s' });
    await lab.api('PUT', '/v1/registry/orders/orders-2', { address, ttl: '60s', zone: 'a', labels: { version: 'v8' } });
    await lab.settled();
    assert.deepEqual(await seen(), [[address, 1, 'a', { version: 'v8' }]]);
    assert.equal((await lab.api('PUT', '/v1/registry/orders/orders-2', { address, ttl: '60s', weight: 0 })).status, 422);
    await Promise.all([lab.gateway.stop(), lab.plane.stop(), origin.close()]);
  });
});
