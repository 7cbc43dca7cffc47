import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import type { Problem } from '../config/load.js';
import { FakeClock } from '../clock/fake-clock.js';
import { checkIdentityFiles } from '../identity/check.js';
import { MeshIdentity } from '../identity/mesh-identity.js';
import { checkClientTls, checkServerTls } from './check.js';
import { ClientCredentials } from './client-credentials.js';
import { PemStore } from './pem-store.js';
import { ServerCredentials } from './server-credentials.js';

/*
 * What OpenSSL and Node take and nobody can use: at the check of a configuration, and when files are exchanged, by each of those that read them.
 */

let authority: TestAuthority;
let ecdsa: KeyPairFiles;
let other: KeyPairFiles;
let rsa: KeyPairFiles;
/** What the files in use hold first. */
let good: Record<'cert' | 'key' | 'ca', Buffer>;
let paths: Record<'cert' | 'key' | 'ca', string>;
before(async () => {
  authority = await TestAuthority.create();
  ecdsa = await authority.identity('ecdsa');
  other = await authority.identity('other');
  rsa = await authority.identity('rsa', { isRsa: true });
  good = { cert: readFileSync(ecdsa.cert), key: readFileSync(ecdsa.key), ca: readFileSync(authority.ca) };
  const at = (name: string): string => `${authority.directory}/used.${name}`;
  paths = { cert: at('cert'), key: at('key'), ca: at('ca') };
});
after(() => authority.remove());

function write(contents: Partial<Record<'cert' | 'key' | 'ca', Buffer | string>>): void {
  for (const name of ['cert', 'key', 'ca'] as const) writeFileSync(paths[name], contents[name] ?? good[name]);
}

const read = (path: string): Buffer => readFileSync(path);
const both = (first: string | Buffer, second: string | Buffer): Buffer => Buffer.concat([Buffer.from(first), Buffer.from('\n'), Buffer.from(second)]);
const whole = (): string => `${good.ca.toString().trim()}\n`;

const pairs: readonly [name: string, contents: () => { cert?: Buffer; key?: Buffer | string }, reason: RegExp | undefined][] = [
  ['an RSA certificate, a key of ECDSA', () => ({ cert: read(rsa.cert) }), /the key \(ec\) is not that of the first certificate \(rsa\)/],
  ['a certificate of ECDSA, an RSA key', () => ({ key: read(rsa.key) }), /the key \(rsa\) is not that of the first certificate \(ec\)/],
  ['another key of the same algorithm', () => ({ key: read(other.key) }), /the key \(ec\) is not that of the first certificate \(ec\)/],
  ['a chain that begins with the wrong one', () => ({ cert: both(read(other.cert), good.cert) }), /is not that of the first certificate/],
  ['a chain that is cut off', () => ({ cert: both(good.cert, good.ca.subarray(0, 300)) }), /bad end line/],
  ['no certificate', () => ({ cert: Buffer.alloc(0) }), /the certificate cannot be read; PEM /],
  ['no key', () => ({ key: good.cert }), /the key cannot be read; a private key in PEM, not encrypted/],
  ['a key that is encrypted', () => ({ key: createPrivateKey(good.key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'secret' }) }), /the key cannot be read; a private key in PEM, not encrypted/],
  ['both of RSA', () => ({ cert: read(rsa.cert), key: read(rsa.key) }), undefined],
  ['both in one file, the key first', () => ({ cert: both(good.key, good.cert), key: both(good.key, good.cert) }), undefined],
  ['a chain', () => ({ cert: both(good.cert, good.ca) }), undefined],
];

const authorities: readonly [name: string, contents: () => Buffer | string, reason: RegExp | undefined][] = [
  ['an empty file', () => '', /the file holds no certificate of an authority; PEM /],
  ['no PEM', () => 'hello\n', /the file holds no certificate of an authority/],
  ['a key alone', () => good.key, /the file holds no certificate of an authority/],
  ['one that is cut off', () => good.ca.subarray(0, 300), /the file is cut off, or damaged/],
  ['a second that is cut off', () => whole() + whole().slice(0, 300), /the file is cut off, or damaged/],
  ['a second that is cut off in its first line', () => `${whole()}-----BEGIN CERT`, /the file is cut off, or damaged/],
  ['a first without its beginning', () => whole().slice(100) + whole(), /the file is cut off, or damaged/],
  ['two without the end of a line between them', () => whole().trim() + whole(), /the file is cut off, or damaged/],
  ['one that is cut off before another', () => `${whole().slice(0, 300)}\n${whole()}`, /the file is cut off, or damaged/],
  ['a second that is damaged', () => `${whole()}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`, /certificate 2 of the file is damaged/],
  ['two, with words between them and a key after them', () => both(`# ours\n${whole()}\n--- theirs ---\n${whole()}`, good.key), undefined],
  ['lines that end in CR LF, after a mark of the order of bytes', () => `\uFEFF${whole().replaceAll('\n', ' \r\n')}`, undefined],
];

/** All that read these files: what a check says of them, and one that has them in force. */
const readers: Record<string, { certPath: string; caPath: string; check: () => Problem[]; open: (pems: PemStore, onReload: (error: Error | undefined) => void) => unknown }> = {
  'a listener': {
    certPath: 'tls',
    caPath: 'tls.clientAuth.ca',
    check: () => checkServerTls({ ...paths, clientAuth: { ca: paths.ca } }, 'tls').filter(({ path }) => path !== 'tls.ca'),
    open: (pems, onReload) => new ServerCredentials({ cert: paths.cert, key: paths.key, certificates: [], clientAuth: { ca: paths.ca, required: true }, minVersion: 'TLSv1.2' }, { clock: new FakeClock(), pems, ticketSecret: Buffer.alloc(32), onReload }),
  },
  'one of the further certificates of a listener': {
    certPath: 'tls.certificates[0]',
    caPath: 'tls.clientAuth.ca',
    check: () => checkServerTls({ ...ecdsa, certificates: [{ cert: paths.cert, key: paths.key }], clientAuth: { ca: paths.ca } }, 'tls'),
    open: (pems, onReload) => new ServerCredentials({ ...ecdsa, certificates: [{ hosts: ['a.test'], cert: paths.cert, key: paths.key }], clientAuth: { ca: paths.ca, required: true }, minVersion: 'TLSv1.2' }, { clock: new FakeClock(), pems, ticketSecret: Buffer.alloc(32), onReload }),
  },
  'an upstream': {
    certPath: 'tls',
    caPath: 'tls.ca',
    check: () => checkClientTls(paths, 'tls'),
    open: (pems, onReload) => new ClientCredentials({ ...paths, minVersion: 'TLSv1.2' }, { pems, onReload }),
  },
  'an identity': {
    certPath: 'identity',
    caPath: 'identity.bundle',
    check: () => checkIdentityFiles({ identity: { cert: paths.cert, key: paths.key, bundle: paths.ca } }),
    open: (pems, onReload) => new MeshIdentity({ cert: paths.cert, key: paths.key, bundle: paths.ca }, { clock: new FakeClock(), pems, ticketSecret: Buffer.alloc(32), onReload }),
  },
};

for (const [reader, { certPath, caPath, check, open }] of Object.entries(readers)) {
  describe(`the files of ${reader}`, () => {
    const cases = [
      ...pairs.map(([name, contents, reason]) => ({ name, contents, reason, path: certPath, named: () => `${paths.cert} with ${paths.key}: ` })),
      ...authorities.map(([name, ca, reason]) => ({ name: `authorities: ${name}`, contents: () => ({ ca: ca() }), reason, path: caPath, named: () => `${paths.ca}: ` })),
    ];
    for (const { name, contents, reason, path, named } of cases) {
      test(`${name}: ${reason === undefined ? 'taken' : 'refused'}`, async (context) => {
        write({});
        const pems = new PemStore(new FakeClock());
        context.after(() => pems.close());
        const told: (Error | undefined)[] = [];
        open(pems, (error) => told.push(error));
        write(contents());
        await pems.refresh();
        const problems = check();
        if (reason === undefined) {
          assert.deepEqual([told, problems], [[undefined], []]);
          return;
        }
        assert.deepEqual([told.length, problems.map((problem) => problem.path)], [1, [path]]);
        assert.match(problems[0]!.message, reason);
        assert.match(told[0]!.message, reason);
        assert.ok(told[0]!.message.startsWith(named()), told[0]!.message);
      });
    }

    for (const name of ['cert', 'key', 'ca'] as const) {
      test(`${name}: that it is gone is told once, and that it is back`, async (context) => {
        write({});
        const pems = new PemStore(new FakeClock());
        context.after(() => pems.close());
        const told: (string | undefined)[] = [];
        open(pems, (error) => told.push(error?.message));
        rmSync(paths[name]);
        for (let look = 0; look < 3; look++) await pems.refresh();
        write({});
        await pems.refresh();
        assert.deepEqual(told, [`${paths[name]}: the file cannot be read (ENOENT)`, undefined]);
      });
    }
  });
}
