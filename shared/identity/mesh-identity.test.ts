import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { systemClock, type Clock } from '../clock/clock.js';
import { meshTlsServer } from '../listener/mesh-door.js';
import { PemStore } from '../tls/pem-store.js';
import { TlsSession } from '../tls/tls-session.js';
import { MeshClient } from './mesh-client.js';
import { MeshIdentity } from './mesh-identity.js';
import type { Refusal } from './verdict.js';

type Files = KeyPairFiles & { readonly bundle: string };

let authority: TestAuthority;
let inventory: Files;
let orders: Files;
before(async () => {
  authority = await TestAuthority.create();
  [inventory, orders] = [await authority.identity('inventory'), await authority.identity('orders')];
});
after(() => authority.remove());

/** A server of one identity, and a client of another that keeps its session. */
async function pair({ clock = systemClock }: { clock?: Clock } = {}) {
  const stores = [new PemStore(systemClock), new PemStore(systemClock)] as const;
  const identityOf = (files: Files, pems: PemStore): MeshIdentity => new MeshIdentity(files, { clock, pems, ticketSecret: Buffer.alloc(32, 's'), onReload: () => {} });
  const [server, client] = [identityOf(inventory, stores[0]), identityOf(orders, stores[1])];
  const refusals: Refusal[] = [];
  const tls: TlsServer = meshTlsServer({ identity: server, mode: () => 'strict', onRefusal: (_client, refusal) => refusals.push(refusal) }, {}, () => '', (socket, peer) => socket.end(peer.id));
  const listener: Server = createServer((socket) => tls.emit('connection', socket));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  const session = new TlsSession(new MeshClient({ expected: 'spiffe://mesh.test/ns/default/sa/inventory', identity: client, onFailure: (failure) => refusals.push(failure) }), clock);
  return {
    stores, server, client, refusals,
    /** What the server called us, and whether the session of before was resumed. */
    call: () =>
      new Promise<[name: string, resumed: boolean]>((resolve) => {
        const socket: TLSSocket = session.connect({ host: '127.0.0.1', port }, '127.0.0.1');
        let name = '';
        let resumed = false;
        socket.once('secureConnect', () => (resumed = socket.isSessionReused()));
        socket.on('data', (data: Buffer) => (name += data.toString()));
        socket.on('error', () => {});
        socket.on('close', () => resolve([name, resumed]));
      }),
    close: () => {
      listener.close();
      for (const store of stores) store.close();
    },
  };
}

const us = 'spiffe://mesh.test/ns/default/sa/orders';

describe('sessions of the mesh', () => {
  test('are resumed, and the caller is still known', async () => {
    const { call, close } = await pair();
    assert.deepEqual([await call(), await call(), await call()], [[us, false], [us, true], [us, true]]);
    close();
  });

  test('end with an exchange of our certificate: the new one is shown', async () => {
    const { call, stores, close } = await pair();
    await call();
    await authority.identity('orders');
    await stores[1].refresh();
    assert.deepEqual([await call(), await call()], [[us, false], [us, true]]);
    close();
  });

  test('outlive an exchange of the server’s certificate', async () => {
    const { call, stores, close } = await pair();
    await call();
    await authority.identity('inventory');
    await stores[0].refresh();
    assert.deepEqual(await call(), [us, true]);
    close();
  });

  test('end with an exchange of the server’s certificate for one of another name, which is not believed', async () => {
    const { call, refusals, stores, close } = await pair();
    await call();
    assert.deepEqual(await call(), [us, true]);
    const own = await authority.identity('payments');
    for (const kind of ['cert', 'key'] as const) writeFileSync(inventory[kind], readFileSync(own[kind]));
    await stores[0].refresh();
    assert.deepEqual([await call(), await call()], [['', false], ['', false]]);
    // The server may hear that its handshakes are broken off.
    assert.deepEqual(refusals.map(({ reason }) => reason).filter((reason) => reason !== 'handshake'), ['wrong_name', 'wrong_name']);
    await authority.identity('inventory');
    await stores[0].refresh();
    assert.deepEqual(await call(), [us, true], 'the session of before, with who is so called again');
    close();
  });

  test('end with a change of the bundle, on either side', async () => {
    const { call, stores, close } = await pair();
    await call();
    const before = readFileSync(authority.ca, 'utf8');
    const other = await TestAuthority.create();
    writeFileSync(authority.ca, `${before}\n${readFileSync(other.ca, 'utf8')}\n`);
    await stores[0].refresh();
    assert.deepEqual([await call(), await call()], [[us, false], [us, true]], 'the server has another bundle');
    await stores[1].refresh();
    assert.deepEqual(await call(), [us, false], 'the client has');
    writeFileSync(authority.ca, before);
    other.remove();
    close();
  });

  test('do not outlive a certificate: the client makes a new handshake, and the server refuses one that is resumed', async () => {
    let ahead = 0;
    const clock: Clock = { ...systemClock, now: () => systemClock.now(), wallNow: () => systemClock.wallNow() + ahead, after: (ms, task) => systemClock.after(ms, task) };
    const { call, refusals, close } = await pair({ clock });
    await call();
    ahead = 2 * 3_600_000;
    // The handshake itself goes by the clock of the machine, for which all is well; what is resumed has only ours.
    assert.deepEqual(await call(), ['', false]);
    assert.deepEqual(refusals.map(({ reason, detail }) => [reason, detail]), [['expired', 'CERT_HAS_EXPIRED']]);
    close();
  });
});
