import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { TestAuthority } from '../support/certificates.js';
import { ask, clientOf, load, serverOf, type Identity, type MeshProxy } from '../support/mesh-pair.js';
import { httpOrigin, type Origin } from '../support/origin.js';
import { RawClient } from '../support/raw-client.js';
import { SnapshotSource } from '../support/snapshots.js';

const listen = { host: '127.0.0.1', port: 0 } as const;
const request = 'GET / HTTP/1.1\r\nHost: inventory\r\n\r\n';
const isAnswered = (count: number) => (text: string) => text.split('hello').length > count;

let authority: TestAuthority;
let app: Origin;

before(async () => {
  authority = await TestAuthority.create();
  app = await httpOrigin((_request, response) => response.end('hello'));
});
after(async () => {
  authority.remove();
  await app.close();
});

/** Applies another configuration, as a snapshot would be, and waits until it is in force. */
async function apply({ process, config }: MeshProxy, inbound: object, count: number): Promise<void> {
  process.reload({ ...config, inbound: { ...(config['inbound'] as object), ...inbound } });
  await process.logged('reloaded', count);
}

for (const workers of [1, 2]) {
  describe(`with ${workers === 1 ? 'one process' : 'two workers'}`, () => {
    test('strict, permissive, off and strict again, by snapshots under load: no call that is proven is lost, plaintext is served while it may be', async (context) => {
      const snapshot = (mtls?: string): object => ({ inbound: { ...(mtls !== undefined && { mtls }) }, routes: [], upstreams: {} });
      const plane = await SnapshotSource.start(context, snapshot());
      const far = await serverOf(context, app.port, await authority.identity('inventory'), { workers, controlPlane: { url: plane.url, node: 'inventory' } });
      const near = await clientOf(context, far.port('inbound'), await authority.identity('orders'), { workers });
      const agent = new Agent({ keepAlive: true });
      context.after(() => agent.destroy());
      const callers = load(near.port('outbound'), 4, { agent });
      context.after(() => callers.stop());
      // A connection each: one that is idle when strict comes is closed, maybe under the next request. They come to every worker.
      const once = new Agent();
      const plain = async (): Promise<number[]> => [...new Set((await Promise.all(Array.from({ length: 2 * workers }, () => ask(far.port('inbound'), { agent: once })))).map(({ status }) => status))];
      assert.deepEqual(await plain(), [403]);
      for (const [mtls, status] of [['permissive', 200], ['off', 200], ['strict', 403], ['off', 200], [undefined, 403]] as const) {
        assert.equal((await plane.send(snapshot(mtls))).accepted, true);
        assert.deepEqual(await plain(), [status], mtls);
      }
      const { answered, lost } = await callers.stop();
      assert.deepEqual(lost, []);
      assert.ok(answered > 0);
    });

    test('what the configuration says stands wherever no snapshot says otherwise', async (context) => {
      const snapshot = (mtls?: string): object => ({ inbound: { ...(mtls !== undefined && { mtls }) }, routes: [], upstreams: {} });
      const plane = await SnapshotSource.start(context, snapshot());
      const far = await serverOf(context, app.port, await authority.identity('inventory'), { workers, inbound: { mtls: 'permissive' }, controlPlane: { url: plane.url, node: 'inventory' } });
      const plain = async (): Promise<number> => (await ask(far.port('inbound'), { agent: new Agent() })).status;
      assert.equal(await plain(), 200);
      for (const [mtls, status] of [['strict', 403], [undefined, 200]] as const) {
        assert.equal((await plane.send(snapshot(mtls))).accepted, true);
        assert.equal(await plain(), status, mtls);
      }
    });

    test('files that are renewed under load are used at once, and no connection is dropped', async (context) => {
      const [server, client] = [await authority.identity('inventory'), await authority.identity('orders')];
      const far = await serverOf(context, app.port, server, { workers });
      const near = await clientOf(context, far.port('inbound'), client, { workers });
      const callers = load(near.port('outbound'), 4);
      context.after(() => callers.stop());
      for (let round = 1; round <= 2; round++) {
        await Promise.all([authority.identity('inventory'), authority.identity('orders')]);
        for (const proxy of [far, near]) proxy.process.reload(proxy.config);
        // One of several workers may tell of it while another has yet to look: what is written then is half of each round's.
        for (const { process } of [far, near]) {
          await process.logged('the identity was exchanged', round);
          await process.logged('reloaded', round);
        }
      }
      const { answered, lost } = await callers.stop();
      assert.deepEqual(lost, []);
      assert.ok(answered > 0);
    });
  });
}

describe('a connection that speaks plaintext', () => {
  test('is served until strict comes, finishes what it carries, and ends; an idle one ends at once', async (context) => {
    let asked!: (release: () => void) => void;
    const release = new Promise<() => void>((resolve) => (asked = resolve));
    const slow = await httpOrigin((incoming, response) => {
      if (incoming.url === '/slow') asked(() => response.end('hello'));
      else response.end('hello');
    });
    context.after(() => slow.close());
    const far = await serverOf(context, slow.port, await authority.identity('inventory'), { inbound: { mtls: 'permissive' } });
    const [idle, busy] = await Promise.all([RawClient.connect(far.port('inbound')), RawClient.connect(far.port('inbound'))]);
    await idle.send(request).until(isAnswered(1));
    busy.send(request.replace('GET /', 'GET /slow'));
    const answer = await release;
    await apply(far, { mtls: 'strict' }, 1);
    await idle.untilClosed();
    answer();
    assert.match(await busy.untilClosed(), /Connection: close[^]*hello$/);
  });
});

describe('the trust bundle', () => {
  test('may hold several roots; one that is taken out admits nobody on a new connection, not even on a session of before', async (context) => {
    const next = await TestAuthority.create();
    context.after(() => next.remove());
    const [server, client] = [await authority.identity('inventory'), await authority.identity('orders')];
    const bundle = `${authority.directory}/both.pem`;
    writeFileSync(bundle, `${readFileSync(authority.ca, 'utf8')}\n${readFileSync(next.ca, 'utf8')}\n`);
    const renewed: Identity = { ...(await next.identity('orders')), bundle };
    const far = await serverOf(context, app.port, { ...server, bundle });
    const [before, after] = [await clientOf(context, far.port('inbound'), { ...client, bundle }, { upstream: { idleTimeout: '1ms', maxIdleTimeout: '1ms' } }), await clientOf(context, far.port('inbound'), renewed)];
    for (const near of [before, after]) assert.equal((await ask(near.port('outbound'))).status, 200);
    const fresh = await next.identity('inventory');
    copyFileSync(fresh.cert, server.cert);
    copyFileSync(fresh.key, server.key);
    writeFileSync(bundle, readFileSync(next.ca));
    far.process.reload(far.config);
    await far.process.logged('the identity was exchanged');
    await before.counted('proxy_connections{listener="inbound"}', 0);
    // It still believes in both; what is shown to it is of the new root, what it shows is of the old.
    assert.equal((await ask(before.port('outbound'))).status, 502);
    await far.counted('proxy_mtls_refused_total{listener="inbound",reason="untrusted"}', 1);
    after.process.reload(after.config);
    await after.process.logged('the identity was exchanged');
    assert.equal((await ask(after.port('outbound'))).status, 200);
  });
});

describe('a configuration', () => {
  const problemsOf = async (config: object, kind: 'sidecar' | 'gateway' = 'sidecar'): Promise<string> => {
    const { TestProcess } = await import('../support/process.js');
    const { code, stderr } = await new TestProcess(`${kind}/main.js`, config, ['--check']).exited;
    return code === 64 ? stderr : `exit ${code}`;
  };

  test('that asks for proofs without an identity, or for two kinds of TLS at one port, is refused with its path', async () => {
    const identity = await authority.identity('inventory');
    const { cert, key, bundle } = identity;
    const shop = await authority.issue('shop', { dns: ['shop'] });
    const inbound = { listen, app: '127.0.0.1:3000' };
    const upstreams = { inventory: { endpoints: ['127.0.0.1:1', { address: '127.0.0.1:2', identity: 'spiffe://mesh.test/ns/default/sa/inventory' }] } };
    const cases: readonly (readonly [config: object, problem: RegExp, kind?: 'gateway'])[] = [
      [{ service: 'x', inbound: { ...inbound, mtls: 'strict' } }, /inbound\.mtls: mutual TLS takes an identity/],
      [{ service: 'x', inbound: { ...inbound, mtls: 'permissive' } }, /inbound\.mtls: mutual TLS takes an identity/],
      [{ service: 'x', outbound: { listen }, upstreams }, /upstreams\.inventory\.endpoints\[1\]\.identity: mutual TLS takes an identity/],
      [{ listen, routes: [{ upstream: 'inventory' }], upstreams }, /upstreams\.inventory\.endpoints\[1\]\.identity: mutual TLS takes an identity/, 'gateway'],
      [{ service: 'x', identity: { cert, key, bundle }, inbound: { ...inbound, listen: { ...listen, tls: shop } } }, /inbound\.listen\.tls: the listener speaks either/],
      [{ service: 'x', identity: { cert, key: shop.key, bundle }, inbound }, /identity: certificate and key cannot be used together/],
      [{ service: 'x', identity: { ...shop, bundle }, inbound }, /identity\.cert: cannot be used: the certificate has no name of the form spiffe/],
      [{ service: 'x', identity: { cert, key, bundle: key }, inbound }, /identity\.bundle: the file holds no certificate/],
      [{ service: 'x', identity: { cert, key, bundle: '/nowhere' }, inbound }, /identity\.bundle: the file cannot be read/],
      [{ service: 'x', tcp: [{ listen, upstream: 'inventory', mtls: 'strict' }], upstreams: { inventory: { endpoints: ['127.0.0.1:1'] } } }, /tcp\[0\]\.mtls: mutual TLS takes an identity/],
    ];
    const found = await Promise.all(cases.map(([config, , kind]) => problemsOf(config, kind)));
    cases.forEach(([, problem], index) => assert.match(found[index]!, problem));
    assert.equal(await problemsOf({ service: 'x', identity: { cert, key, bundle }, inbound: { ...inbound, mtls: 'off', listen: { ...listen, tls: shop } } }), 'exit 0');
  });

  test('in a snapshot is held to the same: it is rejected with its path, and the one before stays', async (context) => {
    const whole = { inbound: {}, routes: [], upstreams: {} };
    const plane = await SnapshotSource.start(context, whole);
    const sidecar = await serverOf(context, app.port, undefined, { controlPlane: { url: plane.url, node: 'inventory' } });
    for (const [snapshot, problem] of [
      [{ ...whole, inbound: { mtls: 'strict' } }, /inbound\.mtls: mutual TLS takes an identity/],
      [{ ...whole, upstreams: { orders: { endpoints: [{ address: '127.0.0.1:1', identity: 'spiffe://mesh.test/ns/default/sa/orders' }] } } }, /upstreams\.orders\.endpoints\[0\]\.identity: mutual TLS takes an identity/],
    ] as const) {
      const { accepted, reason } = await plane.send(snapshot);
      assert.equal(accepted, false);
      assert.match(reason!, problem);
    }
    assert.equal((await ask(sidecar.port('inbound'))).status, 200);
  });
});
