import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect, createServer as createTlsServer, type ConnectionOptions, type PeerCertificate, type TLSSocket } from 'node:tls';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { startEngine } from '../../tests/support/engine.js';
import { httpOrigin, type Origin } from '../../tests/support/origin.js';
import { systemClock } from '../clock/clock.js';
import { FakeClock } from '../clock/fake-clock.js';
import { FastifyListener } from '../listener/fastify/fastify-listener.js';
import { Http1Listener } from '../listener/http1-listener.js';
import { ClientCredentials } from './client-credentials.js';
import { PemStore } from './pem-store.js';
import { ServerCredentials } from './server-credentials.js';
import { TlsSession } from './tls-session.js';

const request = 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';

let authority: TestAuthority;
let stranger: TestAuthority;
let shop: KeyPairFiles;
let other: KeyPairFiles;

before(async () => {
  authority = await TestAuthority.create();
  stranger = await TestAuthority.create();
  shop = await authority.issue('shop', { dns: ['shop.test'], ip: ['127.0.0.1'] });
  other = await authority.issue('other', { dns: ['other.test', '*.wild.test'] });
});
after(() => {
  authority.remove();
  stranger.remove();
});

const pair = ({ cert, key }: KeyPairFiles): { cert: Buffer; key: Buffer } => ({ cert: readFileSync(cert), key: readFileSync(key) });

/** One request over TLS of its own. */
function ask(port: number, options: ConnectionOptions = {}, onSession?: (session: Buffer) => void): Promise<{ text: string; subject: string; resumed: boolean }> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca), ...options }, () => {
      const subject = String((socket.getPeerCertificate() as Partial<PeerCertificate>).subject?.CN ?? '');
      const resumed = socket.isSessionReused();
      let text = '';
      socket.on('data', (data: Buffer) => (text += data.toString()));
      socket.on('end', () => (text === '' ? reject(new Error('closed')) : resolve({ text, subject, resumed })));
      socket.write(request);
    });
    if (onSession !== undefined) socket.on('session', onSession);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
  });
}

describe('TLS towards clients', () => {
  let origin: Origin;
  before(async () => {
    origin = await httpOrigin((_request, response) => response.end('hello'));
  });
  after(() => origin.close());

  const tls = (): { cert: string; key: string; certificates: []; minVersion: 'TLSv1.2' } => ({ ...shop, certificates: [], minVersion: 'TLSv1.2' });

  test('chooses the certificate by the name that the client asks for', async () => {
    const engine = await startEngine([origin.address], { tls: { ...tls(), certificates: [{ hosts: ['other.test', '*.wild.test'], ...other }] } });
    for (const [servername, subject] of [['shop.test', 'shop'], ['other.test', 'other'], ['a.wild.test', 'other']] as const) {
      const answer = await ask(engine.port, { servername });
      assert.equal(answer.subject, subject);
      assert.match(answer.text, /^HTTP\/1\.1 200 OK.*hello$/s);
    }
    // Unknown names get the default certificate, which the client then refuses.
    await assert.rejects(ask(engine.port, { servername: 'a.b.wild.test' }), /altnames|Hostname/);
    await engine.close();
  });

  test('takes a name that ends with a dot for the same, in the configuration and from the client', async () => {
    for (const host of ['other.test', 'other.test.']) {
      const engine = await startEngine([origin.address], { tls: { ...tls(), certificates: [{ hosts: [host, `*.${host.replace('other', 'wild')}`], ...other }] } });
      for (const servername of ['other.test', 'other.test.', 'a.wild.test', 'A.Wild.Test.']) assert.equal((await ask(engine.port, { servername })).subject, 'other');
      await engine.close();
    }
  });

  test('speaks no version below 1.2, and no protocol but HTTP/1.1', async () => {
    const engine = await startEngine([origin.address], { tls: tls() });
    await assert.rejects(ask(engine.port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    await assert.rejects(ask(engine.port, { ALPNProtocols: ['h2'] }), /no application protocol/i);
    assert.match((await ask(engine.port, { ALPNProtocols: ['h2', 'http/1.1'] })).text, /200 OK/);
    await engine.close();
  });

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`resumes a session (${version}), also after the certificate was exchanged`, async () => {
      const current = { cert: `${authority.directory}/current.crt`, key: `${authority.directory}/current.key` };
      copyFileSync(shop.cert, current.cert);
      copyFileSync(shop.key, current.key);
      const engine = await startEngine([origin.address], { tls: { ...tls(), ...current } });
      let session: Buffer | undefined;
      const versions = { minVersion: version, maxVersion: version };
      assert.equal((await ask(engine.port, versions, (ticket) => (session = ticket))).resumed, false);
      assert.equal((await ask(engine.port, { ...versions, session })).resumed, true);
      const open = connect({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca) });
      await new Promise((resolve) => open.once('secureConnect', resolve));
      const renewed = await authority.issue('renewed', { dns: ['shop.test'] });
      copyFileSync(renewed.cert, current.cert);
      copyFileSync(renewed.key, current.key);
      await engine.pems.refresh();
      assert.equal((await ask(engine.port, versions)).subject, 'renewed');
      assert.equal((await ask(engine.port, { ...versions, session })).resumed, true);
      // The connection from before goes on.
      const answered = new Promise<string>((resolve) => open.once('data', (data: Buffer) => resolve(data.toString())));
      open.write(request);
      assert.match(await answered, /200 OK/);
      open.destroy();
      await engine.close();
    });
  }

  test('says which files cannot be used', async (context) => {
    const current = { cert: `${authority.directory}/named.crt`, key: `${authority.directory}/named.key` };
    copyFileSync(other.cert, current.cert);
    copyFileSync(other.key, current.key);
    const pems = new PemStore(new FakeClock());
    const reasons: (string | undefined)[] = [];
    const config = { ...tls(), certificates: [{ hosts: ['other.test'], ...current }] };
    const credentials = new ServerCredentials(config, { clock: new FakeClock(), pems, ticketSecret: Buffer.alloc(32, 's'), onReload: (error) => reasons.push(error?.message) });
    const server = createTlsServer(credentials.options);
    context.after(() => pems.close());
    credentials.serve(server);
    copyFileSync(shop.key, current.key);
    await pems.refresh();
    copyFileSync(shop.cert, current.cert);
    await pems.refresh();
    assert.deepEqual(reasons.map((reason) => reason?.split(': ')[0]), [`${current.cert} with ${current.key}`, undefined]);
  });

  test('an exchange of files that are not its own is none', async (context) => {
    const theirs = `${authority.directory}/theirs.crt`;
    copyFileSync(other.cert, theirs);
    const pems = new PemStore(new FakeClock());
    context.after(() => pems.close());
    pems.open([theirs]);
    const reloads: (Error | undefined)[] = [];
    const credentials = new ServerCredentials(tls(), { clock: new FakeClock(), pems, ticketSecret: Buffer.alloc(32, 's'), onReload: (error) => reloads.push(error) });
    const server = createTlsServer(credentials.options);
    credentials.serve(server);
    copyFileSync(shop.cert, theirs);
    await pems.refresh();
    assert.deepEqual(reloads, []);
  });

  test('certificates that cannot be used do not replace those that can', async () => {
    const current = { cert: `${authority.directory}/kept.crt`, key: `${authority.directory}/kept.key` };
    copyFileSync(shop.cert, current.cert);
    copyFileSync(shop.key, current.key);
    const engine = await startEngine([origin.address], { tls: { ...tls(), ...current } });
    copyFileSync(other.key, current.key);
    await engine.pems.refresh();
    assert.equal((await ask(engine.port)).subject, 'shop');
    await engine.close();
  });

  test('a pair that cannot be used holds back neither another nor the authorities: who comes from one that was taken out is turned away', async (context) => {
    const at = (name: string): string => `${authority.directory}/apart.${name}`;
    const [first, second, ca] = [{ cert: at('1.crt'), key: at('1.key') }, { cert: at('2.crt'), key: at('2.key') }, at('ca')];
    for (const [from, to] of [[shop, first], [other, second]] as const) for (const name of ['cert', 'key'] as const) copyFileSync(from[name], to[name]);
    copyFileSync(authority.ca, ca);
    const engine = await startEngine([origin.address], { tls: { ...tls(), ...first, certificates: [{ hosts: ['other.test'], ...second }], clientAuth: { ca, required: true } } });
    context.after(() => engine.close());
    const [ours, theirs] = [pair(other), pair(await stranger.issue('stranger', { dns: ['stranger.test'] }))];
    assert.equal((await ask(engine.port, ours)).subject, 'shop');
    const renewed = await authority.issue('renewed', { dns: ['shop.test'] });
    for (const name of ['cert', 'key'] as const) copyFileSync(renewed[name], first[name]);
    writeFileSync(second.cert, 'broken');
    copyFileSync(stranger.ca, ca);
    await engine.pems.refresh();
    await assert.rejects(ask(engine.port, ours));
    assert.equal((await ask(engine.port, theirs)).subject, 'renewed');
    assert.equal((await ask(engine.port, { ...theirs, servername: 'other.test' })).subject, 'other', 'the last good one, with the new authorities');
    await assert.rejects(ask(engine.port, { ...ours, servername: 'other.test' }));
    writeFileSync(ca, 'broken');
    for (const name of ['cert', 'key'] as const) copyFileSync(shop[name], second[name]);
    await engine.pems.refresh();
    assert.equal((await ask(engine.port, { ...theirs, servername: 'other.test', checkServerIdentity: () => undefined })).subject, 'shop');
  });

  test('each that cannot be used is told of; at the start all must be usable, and what fails leaves nothing behind', async (context) => {
    const at = (name: string): string => `${authority.directory}/told.${name}`;
    const [first, second, ca] = [{ cert: at('1.crt'), key: at('1.key') }, { cert: at('2.crt'), key: at('2.key') }, at('ca')];
    for (const [from, to] of [[shop, first], [other, second]] as const) for (const name of ['cert', 'key'] as const) copyFileSync(from[name], to[name]);
    copyFileSync(authority.ca, ca);
    const clock = new FakeClock();
    const pems = new PemStore(clock);
    context.after(() => pems.close());
    const told: (string | undefined)[] = [];
    const open = (): ServerCredentials =>
      new ServerCredentials({ ...tls(), ...first, certificates: [{ hosts: ['other.test'], ...second }], clientAuth: { ca, required: true } }, { clock, pems, ticketSecret: Buffer.alloc(32, 's'), onReload: (error) => told.push(error?.message.split(': ')[0]) });
    open();
    for (const path of [first.key, second.cert, ca]) writeFileSync(path, 'broken');
    await pems.refresh();
    assert.deepEqual(told.splice(0).sort(), [ca, `${first.cert} with ${first.key}`, `${second.cert} with ${second.key}`].sort());
    copyFileSync(shop.key, first.key);
    await pems.refresh();
    assert.deepEqual(told.splice(0), [undefined], 'what is still broken was told already');
    copyFileSync(authority.ca, ca);
    const fresh = new PemStore(clock);
    assert.throws(() => new ServerCredentials({ ...tls(), ...first, certificates: [{ hosts: ['other.test'], ...second }], clientAuth: { ca, required: true } }, { clock, pems: fresh, ticketSecret: Buffer.alloc(32, 's'), onReload: () => assert.fail() }), /told\.2\.crt with /);
    assert.equal(clock.pending, 1, 'only the first store looks');
  });

  test('asks for client certificates, and lets only those of the authority in', async () => {
    const engine = await startEngine([origin.address], { tls: { ...tls(), clientAuth: { ca: authority.ca, required: true } } });
    assert.match((await ask(engine.port, pair(other))).text, /200 OK/);
    await assert.rejects(ask(engine.port));
    await assert.rejects(ask(engine.port, pair(await stranger.issue('stranger', { dns: ['x'] }))));
    await engine.close();
    const optional = await startEngine([origin.address], { tls: { ...tls(), clientAuth: { ca: authority.ca, required: false } } });
    assert.match((await ask(optional.port)).text, /200 OK/);
    assert.match((await ask(optional.port, pair(other))).text, /200 OK/);
    await assert.rejects(ask(optional.port, pair(await stranger.issue('stranger', { dns: ['x'] }))));
    await optional.close();
  });

  for (const [listener, kind] of [['the engine', Http1Listener], ['fastify', FastifyListener]] as const) {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      for (const required of [true, false]) {
        test(`a certificate that is not valid now opens nothing, resumed or not (${listener}, ${version}, ${required ? 'required' : 'optional'})`, async (context) => {
          let skew = 0;
          const engine = await startEngine([origin.address], { kind, wallClock: { wallNow: () => Date.now() + skew }, tls: { ...tls(), clientAuth: { ca: authority.ca, required } } });
          context.after(() => engine.close());
          const known = { ...pair(other), minVersion: version, maxVersion: version };
          let session: Buffer | undefined;
          await ask(engine.port, known, (ticket) => (session = ticket));
          assert.equal((await ask(engine.port, { ...known, session })).resumed, true);
          for (const wrong of [7_200_000, -7_200_000]) {
            skew = wrong;
            await assert.rejects(ask(engine.port, { ...known, session }));
            await assert.rejects(ask(engine.port, known));
          }
          skew = 0;
          assert.equal((await ask(engine.port, { ...known, session })).resumed, true);
        });
      }
    }
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`a session from when no certificate was required opens nothing once one is (${version})`, async (context) => {
      const [optional, required] = await Promise.all(
        [false, true].map((isRequired) => startEngine([origin.address], { tls: { ...tls(), clientAuth: { ca: authority.ca, required: isRequired } } })),
      );
      context.after(() => Promise.all([optional, required].map((engine) => engine!.close())));
      const versions = { minVersion: version, maxVersion: version };
      let session: Buffer | undefined;
      await ask(optional!.port, versions, (ticket) => (session = ticket));
      assert.equal((await ask(optional!.port, { ...versions, session })).resumed, true);
      await assert.rejects(ask(required!.port, { ...versions, session }));
    });
  }

  test('a client that shows a certificate of the past is not let in where none is required', async () => {
    const engine = await startEngine([origin.address], { tls: { ...tls(), clientAuth: { ca: authority.ca, required: false } } });
    await assert.rejects(ask(engine.port, pair(await authority.issue('past', { dns: ['past.test'], to: -1_000 }))));
    await engine.close();
  });

  test('a client that never finishes its handshake is cut off', async () => {
    const engine = await startEngine([origin.address], { tls: tls(), limits: { headTimeout: 150 } });
    const { RawClient } = await import('../../tests/support/raw-client.js');
    const client = await RawClient.connect(engine.port);
    await client.send(Buffer.from([22, 3, 1])).untilClosed();
    await engine.close();
  });
});

describe('TLS towards an upstream', () => {
  let server: Server;
  let seen: { resumed: boolean; subject: string | undefined }[] = [];
  const start = async (files: KeyPairFiles, options: object = {}): Promise<number> => {
    seen = [];
    server = createServer({ ...pair(files), ...options }, (incoming, response) => {
      const { socket } = incoming as unknown as { socket: TLSSocket };
      seen.push({ resumed: socket.isSessionReused(), subject: (socket.getPeerCertificate() as Partial<PeerCertificate>).subject?.CN as string | undefined });
      response.end('secret');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  const forward = async (port: number, tls: object, requests = 1): Promise<string[]> => {
    const engine = await startEngine([{ host: '127.0.0.1', port }], { upstream: { tls: { minVersion: 'TLSv1.2', ...tls } } });
    const answers: string[] = [];
    for (let index = 0; index < requests; index++) {
      const response = await fetch(`http://127.0.0.1:${engine.port}/`);
      answers.push(`${response.status} ${await response.text()}`);
      // The next request needs a connection of its own.
      server.closeAllConnections();
      while (engine.upstream.endpoints[0]!.pool.size > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await engine.close();
    return answers;
  };

  test('asks for a name without the dot that it may end with', async () => {
    const asked: string[] = [];
    const port = await start(shop, {
      SNICallback: (name: string, done: (error: null) => void) => {
        asked.push(name);
        done(null);
      },
    });
    for (const serverName of ['shop.test.', 'shop.test']) assert.deepEqual(await forward(port, { ca: authority.ca, serverName }), ['200 secret']);
    assert.deepEqual(await forward(port, { ca: authority.ca, serverName: '127.0.0.1.' }), ['200 secret'], 'an address is none');
    assert.deepEqual(asked.slice(0, 2), ['shop.test', 'shop.test']);
    await stop();
  });

  test('verifies the certificate: its authority, and its name', async () => {
    const port = await start(shop);
    assert.deepEqual(await forward(port, { ca: authority.ca }), ['200 secret']);
    assert.deepEqual(await forward(port, { ca: authority.ca, serverName: 'shop.test' }), ['200 secret']);
    assert.deepEqual(await forward(port, { ca: authority.ca, serverName: 'evil.test' }), ['502 upstream_tls_failed']);
    assert.deepEqual(await forward(port, { ca: stranger.ca }), ['502 upstream_tls_failed']);
    assert.deepEqual(await forward(port, {}), ['502 upstream_tls_failed']);
    assert.equal(seen.length, 2);
    await stop();
  });

  test('shows a certificate of ours, and is turned away without', async () => {
    const port = await start(shop, { requestCert: true, rejectUnauthorized: true, ca: readFileSync(authority.ca), maxVersion: 'TLSv1.2' });
    assert.deepEqual(await forward(port, { ca: authority.ca, ...other }), ['200 secret']);
    assert.equal(seen[0]!.subject, 'other');
    assert.deepEqual(await forward(port, { ca: authority.ca }), ['502 upstream_tls_failed']);
    await stop();
  });

  test('resumes sessions', async () => {
    const port = await start(shop);
    assert.deepEqual(await forward(port, { ca: authority.ca }, 3), ['200 secret', '200 secret', '200 secret']);
    assert.deepEqual(seen.map(({ resumed }) => resumed), [false, true, true]);
    await stop();
  });

  describe('when files change', () => {
    let pems: PemStore;
    let reasons: (string | undefined)[];
    const copyOf = (name: string, { cert, key }: KeyPairFiles): KeyPairFiles => {
      const copy = { cert: `${authority.directory}/${name}.crt`, key: `${authority.directory}/${name}.key` };
      copyFileSync(cert, copy.cert);
      copyFileSync(key, copy.key);
      return copy;
    };
    const credentialsOf = (files: KeyPairFiles): ClientCredentials =>
      new ClientCredentials({ ca: authority.ca, serverName: 'shop.test', minVersion: 'TLSv1.2', ...files }, { pems, onReload: (error) => reasons.push(error?.message) });
    beforeEach(() => {
      pems = new PemStore(new FakeClock());
      reasons = [];
    });
    afterEach(() => pems.close());

    test('sessions outlive an exchange of what is not its own, and end with one of its own', async () => {
      const [ours, theirs] = [copyOf('ours', other), copyOf('theirs', shop)];
      const port = await start(shop, { requestCert: true, ca: readFileSync(authority.ca) });
      const session = new TlsSession(credentialsOf(ours), systemClock);
      credentialsOf(theirs);
      const call = (): Promise<void> =>
        new Promise((resolve, reject) => {
          const socket = session.connect({ host: '127.0.0.1', port }, '127.0.0.1').on('error', reject);
          socket.resume().on('close', () => resolve());
          socket.write(request);
        });
      await call();
      copyOf('theirs', other);
      await pems.refresh();
      await call();
      copyOf('ours', await authority.issue('newcomer', { dns: ['newcomer.test'] }));
      await pems.refresh();
      await call();
      await call();
      assert.deepEqual(seen.map(({ resumed }) => resumed), [false, true, false, true]);
      await stop();
    });

    test('says which cannot be used, and goes on with what it has until they can', async () => {
      const ours = copyOf('ours', other);
      const credentials = credentialsOf(ours);
      copyFileSync(shop.key, ours.key);
      await pems.refresh();
      assert.equal(credentials.version, 0);
      copyFileSync(shop.cert, ours.cert);
      await pems.refresh();
      assert.equal(credentials.version, 1);
      assert.deepEqual(reasons.map((reason) => reason?.split(': ')[0]), [`${ours.cert} with ${ours.key}`, undefined]);
    });

    test('authorities are exchanged although its pair cannot be used', async () => {
      const ca = `${authority.directory}/believed.ca`;
      copyFileSync(authority.ca, ca);
      const ours = copyOf('ours', other);
      const credentials = new ClientCredentials({ ca, serverName: 'shop.test', minVersion: 'TLSv1.2', ...ours }, { pems, onReload: (error) => reasons.push(error?.message.split(': ')[0]) });
      const port = await start(shop, { requestCert: true, ca: readFileSync(authority.ca) });
      const isBelieved = (): Promise<boolean> =>
        new Promise((resolve) => {
          const socket = credentials.connect({ host: '127.0.0.1', port }, '127.0.0.1');
          socket.on('error', () => resolve(false)).on('secureConnect', () => resolve(true)).on('close', () => resolve(false));
          socket.end();
        });
      assert.equal(await isBelieved(), true);
      writeFileSync(ours.key, 'broken');
      copyFileSync(stranger.ca, ca);
      await pems.refresh();
      assert.equal(await isBelieved(), false);
      assert.deepEqual(reasons, [undefined, `${ours.cert} with ${ours.key}`]);
      await stop();
    });

    test('hears of no change any more once it is closed', async () => {
      const credentials = credentialsOf(copyOf('ours', other));
      credentials.close();
      copyOf('ours', shop);
      await pems.refresh();
      assert.deepEqual(reasons, []);
    });
  });

  test('an upstream that speaks no TLS is told apart from one that is not there', async () => {
    const plain = await httpOrigin((_request, response) => response.end());
    server = plain.server as unknown as Server;
    assert.deepEqual(await forward(plain.port, { ca: authority.ca }), ['502 upstream_tls_failed']);
    await plain.close();
    assert.deepEqual(await forward(plain.port, { ca: authority.ca }), ['503 upstream_connect_failed']);
  });
});
