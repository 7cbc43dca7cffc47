import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { Relay } from '../tests/support/relay.js';
import { Load, Mesh, Plane, end, tally, type Running } from '../tests/support/running-mesh.js';
import { until } from '../tests/support/until.js';

/* What proxies do while the control plane is away, or is not itself: go on. All under constant load, in which nothing may fail. */

const directory = mkdtempSync(join(tmpdir(), 'static-stability-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const resources = [{ kind: 'Service', name: 'orders' }, { kind: 'Route', name: 'shop', service: 'orders' }];

async function endpoints({ admin }: Running, upstream = 'orders'): Promise<string[]> {
  const all = (await (await fetch(`${admin}/upstreams`)).json()) as { name: string; endpoints: { address: string }[] }[];
  return (all.find(({ name }) => name === upstream)?.endpoints ?? []).map(({ address }) => address).sort();
}

async function started(context: TestContext, config: object) {
  const plane = await Plane.start(config);
  context.after(() => end(plane.process));
  const mesh = new Mesh(context, plane.url);
  const sidecars = await Promise.all([mesh.sidecar('orders', 'orders-1'), mesh.sidecar('orders', 'orders-2')]);
  const gateway = await mesh.gateway({}, { snapshotFile: join(mesh.directory, 'gateway.json') });
  const addresses = sidecars.map(({ port }) => `127.0.0.1:${port}`).sort();
  await until(async () => (await endpoints(gateway)).length === 2);
  return { plane, mesh, gateway, sidecars, addresses };
}

describe('under constant load nothing fails', () => {
  test('when the control plane is killed for longer than a lease, and what starts meanwhile starts from its last snapshot', async (context) => {
    const { plane, mesh, gateway, addresses } = await started(context, { dataDir: join(directory, 'killed'), resources, leaseGrace: '3s' });
    const load = new Load(context, gateway.port);
    await load.more(50);
    await plane.kill();
    const started2 = Date.now();
    // Longer than a lease.
    await until(() => Date.now() - started2 > 2_500);
    await load.more(50);
    const snapshotFile = join(mesh.directory, 'gateway.json');
    const another = await mesh.gateway({}, { snapshotFile });
    assert.equal((await fetch(`http://127.0.0.1:${another.port}`)).status, 200);
    const back = await Plane.start({ dataDir: join(directory, 'killed'), resources, leaseGrace: '3s' }, plane.port);
    context.after(() => end(back.process));
    await until(async () => (await back.status()).proxies.filter(({ connected }) => connected).length === 3);
    await until(async () => (await back.metric('control_plane_registry_gathering')) === 0);
    await back.settled();
    assert.deepEqual([await back.instances(), await endpoints(gateway)], [['orders-1', 'orders-2'], addresses]);
    assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
  });

  for (const [name, seed] of [['with the resources that it is configured with', resources], ['with nothing at all', []]] as const) {
    test(`when the control plane comes back empty, ${name}`, async (context) => {
      const { plane, gateway, addresses } = await started(context, { resources, leaseGrace: '3s' });
      const load = new Load(context, gateway.port);
      await load.more(50);
      await plane.kill();
      // Its registry and, without a seed, its resources are lost: they were in memory.
      const back = await Plane.start({ resources: seed, leaseGrace: '3s' }, plane.port);
      context.after(() => end(back.process));
      await until(async () => (await back.status()).proxies.filter(({ connected }) => connected).length === 3);
      await load.more(100);
      await until(async () => (await back.metric('control_plane_registry_gathering')) === 0);
      await back.settled();
      await load.more(100);
      assert.deepEqual([await back.instances(), await endpoints(gateway)], [['orders-1', 'orders-2'], addresses]);
      assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
      if (seed.length === 0) {
        // What is written then counts again.
        await back.apply(...resources);
        await back.settled();
        assert.deepEqual(await endpoints(gateway), addresses);
      }
    });
  }

  test('when the control plane comes back empty while an instance drains: it is out, and stays out', async (context) => {
    const { plane, gateway, sidecars, addresses } = await started(context, { resources, leaseGrace: '30s' });
    const load = new Load(context, gateway.port);
    await plane.kill();
    const back = await Plane.start({ resources, leaseGrace: '30s' }, plane.port);
    context.after(() => end(back.process));
    await until(async () => (await back.instances()).length === 2 && (await back.status()).proxies.some(({ node, connected }) => node === 'gateway' && connected));
    await back.settled();
    assert.deepEqual(await endpoints(gateway), addresses);
    await sidecars[0].process.stop();
    await back.settled();
    assert.deepEqual(await endpoints(gateway), [`127.0.0.1:${sidecars[1].port}`]);
    await load.more(100);
    assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
  });

  test('when the control plane hangs for longer than a lease', async (context) => {
    const { plane, gateway, addresses } = await started(context, { resources, leaseGrace: '100ms' });
    const load = new Load(context, gateway.port);
    plane.process.child.kill('SIGSTOP');
    const stoppedAt = Date.now();
    await until(() => Date.now() - stoppedAt > 4_000);
    plane.process.child.kill('SIGCONT');
    for (let look = 0; look < 50; look++) {
      assert.deepEqual(await plane.instances(), ['orders-1', 'orders-2']);
      assert.deepEqual(await endpoints(gateway), addresses);
    }
    assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
  });

  test('when sidecars are cut off from the control plane: none is believed to be dead, not even by one that comes back with nothing', async (context) => {
    const plane = await Plane.start({ resources, leaseGrace: '2s' });
    context.after(() => end(plane.process));
    const network = await Relay.start(context, plane.port);
    const mesh = new Mesh(context, network.url);
    const sidecars = await Promise.all([mesh.sidecar('orders', 'orders-1'), mesh.sidecar('orders', 'orders-2')]);
    const gateway = await mesh.gateway({}, { url: plane.url });
    const addresses = sidecars.map(({ port }) => `127.0.0.1:${port}`).sort();
    await until(async () => (await endpoints(gateway)).length === 2);
    const load = new Load(context, gateway.port);
    network.cut();
    await until(async () => (await plane.instances()).length === 0);
    await plane.settled();
    assert.deepEqual(await endpoints(gateway), addresses, 'the last to go silent stay the endpoints');
    await plane.kill();
    const back = await Plane.start({ resources, leaseGrace: '2s' }, plane.port);
    context.after(() => end(back.process));
    await until(async () => (await back.status()).proxies.some(({ node, connected }) => node === 'gateway' && connected));
    await back.settled();
    assert.deepEqual(await endpoints(gateway), addresses, 'while it gathers');
    await until(async () => (await back.metric('control_plane_registry_gathering')) === 0);
    await back.settled();
    assert.deepEqual(await endpoints(gateway), addresses, 'when it has gathered, and nobody called');
    await load.more(50);
    network.restore();
    await until(async () => (await back.instances()).length === 2);
    await back.settled();
    assert.deepEqual(await endpoints(gateway), addresses);
    assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
  });

  test('when it is given a policy that the gateway cannot use, beside one that it can', async (context) => {
    const { plane, gateway } = await started(context, { resources, leaseGrace: '100ms' });
    const load = new Load(context, gateway.port);
    await plane.apply(
      { kind: 'Policy', name: 'tokens', placement: 'ambassador', target: { services: ['orders'] }, spec: { jwt: { issuer: 'i', audience: 'a', jwks: '/nothing/here.json' } } },
      { kind: 'Service', name: 'users', endpoints: ['127.0.0.1:9'] },
      { kind: 'Route', name: 'users', match: { path: '/users' }, service: 'users' },
    );
    const { proxies } = await plane.settled();
    const { rejected, rejections } = proxies.find(({ node }) => node === 'gateway')!;
    assert.equal(rejected, undefined);
    assert.deepEqual(rejections?.map(({ path, resource }) => [path, resource]), [['routes[0]', 'Policy/tokens']]);
    assert.match(rejections[0]!.reason, /ENOENT/);
    assert.deepEqual(await endpoints(gateway, 'users'), ['127.0.0.1:9'], 'the rest is in force');
    assert.equal(await plane.metric('control_plane_proxies_rejecting'), 1);
    await plane.api('DELETE', '/v1/policies/tokens');
    assert.equal((await plane.settled()).proxies.find(({ node }) => node === 'gateway')!.rejections, undefined);
    assert.deepEqual(Object.keys(tally(await load.stop())), ['200']);
  });
});

test('an instance that dies is out of the registry, and of its callers, when its lease has ended', async (context) => {
  const { plane, gateway, sidecars } = await started(context, { resources, leaseGrace: '100ms' });
  sidecars[0].process.child.kill('SIGKILL');
  await until(async () => (await plane.instances()).join() === 'orders-2');
  await plane.settled();
  assert.deepEqual(await endpoints(gateway), [`127.0.0.1:${sidecars[1].port}`]);
});

test('an instance whose application is not healthy is out of the registry at once, and back when it is', async (context) => {
  const plane = await Plane.start({ resources });
  context.after(() => end(plane.process));
  const mesh = new Mesh(context, plane.url);
  let isHealthy = false;
  // The lease is long: what takes it out is not its end.
  const { process } = await mesh.sidecar('orders', 'orders-1', { leaseTtl: '60s' }, (_request, response) => response.writeHead(isHealthy ? 200 : 503).end());
  assert.deepEqual(await plane.instances(), [], 'it starts unhealthy');
  isHealthy = true;
  await process.logged('registered');
  assert.deepEqual(await plane.instances(), ['orders-1']);
  isHealthy = false;
  await process.logged('deregistered');
  assert.deepEqual(await plane.instances(), []);
  isHealthy = true;
  await process.logged('registered', 2);
  assert.equal((await process.stop()).code, 0);
  assert.deepEqual(await plane.instances(), [], 'it says good-bye when it drains');
});
