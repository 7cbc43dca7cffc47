import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forwarded, type ForwardedOptions } from './forwarded.js';
import type { Headers } from '../shared/http/headers.js';
import { canonicalAddress, networkList } from '../shared/listener/network-list.js';
import { exchange, request, response } from '../tests/support/policy.js';

const trusted = networkList(['10.0.0.0/8', '2001:db8::/32']);

type Fields = Readonly<Record<string, string | readonly string[]>>;

async function run(peer: string, fields: Fields, { standardField = false, authority = 'shop', clientAddressFrom = 'x-forwarded-for' }: Partial<ForwardedOptions> & { readonly authority?: string } = {}): Promise<{ client: string; headers: Headers }> {
  const over = exchange(peer);
  const sent = request(over, { authority });
  for (const [name, values] of Object.entries(fields)) for (const value of [values].flat()) sent.headers.append(name, value);
  await forwarded({ trusted, clientAddressFrom, standardField })(() => Promise.resolve(response(200)))(sent, over);
  return { client: over.clientAddress, headers: sent.headers };
}

test('a stranger’s claims are removed, and it is named itself', async () => {
  const { client, headers } = await run('192.0.2.9', {
    'X-Forwarded-For': '198.51.100.1', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil', 'X-Forwarded-Anything': '1', Forwarded: 'for=198.51.100.1',
    'X-Real-IP': '198.51.100.1', 'X-Auth-Subject': 'admin', 'X-Request-Id': 'chosen', 'X-Kept': '1',
    X_Forwarded_For: '198.51.100.1', 'X-Forwarded_Proto': 'https', X_Real_IP: '198.51.100.1', X_Auth_Subject: 'admin', X_Request_Priority: 'high', x_kept: '2',
  });
  assert.equal(client, '192.0.2.9');
  assert.deepEqual(headers.toObject(), { 'x-kept': '1', x_kept: '2', 'x-forwarded-for': '192.0.2.9', 'x-forwarded-proto': 'http', 'x-forwarded-host': 'shop' });
});

const believed: readonly (readonly [name: string, fields: Fields, client: string, chain: string, proto: string, host: string])[] = [
  ['X-Forwarded-*', { 'X-Forwarded-For': '198.51.100.1', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'Public' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'https', 'public'],
  ['X-Forwarded-* but for what is no scheme and no host', { 'X-Forwarded-For': '198.51.100.1', 'X-Forwarded-Proto': 'gopher', 'X-Forwarded-Host': 'a";for=6.6.6.6' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'http', 'shop'],
  ['the rightmost address that is not trusted', { 'X-Forwarded-For': '6.6.6.6, 198.51.100.1, 10.2.2.2' }, '198.51.100.1', '6.6.6.6, 198.51.100.1, 10.2.2.2, 10.1.1.1', 'http', 'shop'],
  ['the first address when all are trusted', { 'X-Forwarded-For': '10.9.9.9, 10.2.2.2' }, '10.9.9.9', '10.9.9.9, 10.2.2.2, 10.1.1.1', 'http', 'shop'],
  ['Forwarded', { Forwarded: 'for=198.51.100.1;proto=https;host=public.test' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'https', 'public.test'],
  ['Forwarded with IPv6, ports and quotes', { Forwarded: 'For="[2001:DB8:1::7]:4711", for="198.51.100.1:80" ; Host="a,b" ; proto=HTTPS' }, '198.51.100.1', '2001:db8:1::7, 198.51.100.1, 10.1.1.1', 'https', 'shop'],
  ['Forwarded whose first line leaves a quote open', { Forwarded: ['for=10.8.0.1, for="', 'for="198.51.100.1:4711"'] }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'http', 'shop'],
  ['Forwarded that leaves a quote open', { Forwarded: 'for=10.8.0.1, for=", for="198.51.100.1:4711";proto=https' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'https', 'shop'],
  ['Forwarded up to what is no element', { Forwarded: 'for=10.8.0.1, for' }, '10.1.1.1', '10.1.1.1', 'http', 'shop'],
  ['Forwarded up to who does not say for whom it speaks', { Forwarded: 'for=198.51.100.1, proto=https;by=10.2.2.2' }, '10.1.1.1', '10.1.1.1', 'https', 'shop'],
  ['X-Forwarded-For and not Forwarded', { 'X-Forwarded-For': '198.51.100.1', Forwarded: 'for=6.6.6.6;proto=https;host=evil' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'http', 'shop'],
  ['X-Forwarded-For and not Forwarded, where only that came', { Forwarded: 'for=6.6.6.6;proto=https;host=evil' }, '10.1.1.1', '10.1.1.1', 'http', 'shop'],
  ['Forwarded and not X-Forwarded-*', { 'X-Forwarded-For': '6.6.6.6', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil', Forwarded: 'for=198.51.100.1' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'http', 'shop'],
  ['Forwarded and not X-Forwarded-For that is empty', { 'X-Forwarded-For': ['', ','], Forwarded: 'for=198.51.100.1' }, '198.51.100.1', '198.51.100.1, 10.1.1.1', 'http', 'shop'],
  ['Forwarded and not X-Forwarded-For, where only that came', { 'X-Forwarded-For': '6.6.6.6' }, '10.1.1.1', '10.1.1.1', 'http', 'shop'],
  ['nothing, and the peer is the client', {}, '10.1.1.1', '10.1.1.1', 'http', 'shop'],
];
for (const [name, fields, client, chain, proto, host] of believed) {
  test(`a trusted peer is believed: ${name}`, async () => {
    const clientAddressFrom = name.startsWith('Forwarded') ? 'forwarded' : 'x-forwarded-for';
    const result = await run('10.1.1.1', { ...fields, 'X-Auth-Subject': 'admin', X_Auth_Subject: 'admin', X_Forwarded_For: '6.6.6.6' }, { clientAddressFrom });
    assert.equal(result.client, client);
    const { headers } = result;
    assert.deepEqual([headers.get('x-forwarded-for'), headers.get('x-forwarded-proto'), headers.get('x-forwarded-host')], [chain, proto, host]);
    for (const gone of ['x-auth-subject', 'x_auth_subject', 'x_forwarded_for']) assert.equal(headers.has(gone), false, gone);
    assert.equal(headers.has('forwarded'), false, 'it would say something else');
  });
}

const addresses: readonly (readonly [written: string, client: string])[] = [
  ['203.0.113.9:40001', '203.0.113.9'], ['[2001:DC8::0001]', '2001:dc8::1'], ['[2001:dc8::1]:443', '2001:dc8::1'], ['2001:DC8:0:0::1', '2001:dc8::1'],
  ['::ffff:cb00:7109', '203.0.113.9'], ['::FFFF:203.0.113.9', '203.0.113.9'], ['0:0:0:0:0:ffff:203.0.113.9', '203.0.113.9'], ['[::ffff:203.0.113.9]:80', '203.0.113.9'],
  ['198.051.100.007', '10.1.1.1'], ['aa bb"', '10.1.1.1'], ['unknown', '10.1.1.1'], ['_hidden', '10.1.1.1'], ['203.0.113.9/24', '10.1.1.1'], ['fe80::1%eth0', '10.1.1.1'],
  ['203.0.113.9, junk', '10.1.1.1'], ['203.0.113.9, junk, 10.2.2.2', '10.2.2.2'], ['junk, 203.0.113.9', '203.0.113.9'], ['203.0.113.9, 10.2.2.2:80, ,', '203.0.113.9'],
];
for (const [written, client] of addresses) {
  test(`of a trusted peer only addresses are taken for addresses: ${written}`, async () => {
    const { client: found, headers } = await run('10.1.1.1', { 'X-Forwarded-For': written });
    assert.equal(found, client);
    const sent = headers.get('x-forwarded-for')!.split(', ');
    assert.deepEqual(sent.map((address) => canonicalAddress(address)), sent, 'nothing else is sent on');
  });
}

test('no chain is longer than a hundred addresses', async () => {
  const { client, headers } = await run('10.1.1.1', { 'X-Forwarded-For': `${'::1,'.repeat(3_000)}203.0.113.9` });
  assert.equal(client, '203.0.113.9');
  assert.equal(headers.get('x-forwarded-for')!.split(', ').length, 101);
});

test('a host that the client did not name is not named', async () => {
  for (const peer of ['192.0.2.9', '10.1.1.1']) {
    const { headers } = await run(peer, { 'X-Forwarded-Host': 'a";for=6.6.6.6' }, { standardField: true, authority: '' });
    assert.deepEqual([headers.has('x-forwarded-host'), headers.get('forwarded')], [false, `for=${peer};proto=http`]);
  }
});

test('reading Forwarded takes time that grows with its length and nothing else', async () => {
  const values = [',', 'a', 'a="', '"', 'a=', 'a="\\'].map((part) => part.repeat(300_000 / part.length));
  const startedAt = performance.now();
  for (const value of values) await run('10.1.1.1', { Forwarded: value }, { clientAddressFrom: 'forwarded' });
  assert.ok(performance.now() - startedAt < 20_000);
});

test('a trusted peer is believed in nothing but that, and in what it says of the request to the next proxy', async () => {
  const claims = ['X-Real-IP', 'X-Client-IP', 'X-Cluster-Client-IP', 'True-Client-IP', 'X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Prefix', 'X-Forwarded-Server', 'X-Forwarded-Anything', 'X_Real_IP', 'X-Original_URL'];
  const { headers } = await run('10.1.1.1', { 'X-Kept': '1', 'X-Forwarded-For': '198.51.100.1', 'X-Forwarded-Port': 'a', 'X-Request-Priority': 'high', ...Object.fromEntries(claims.map((name) => [name, 'evil'])) });
  assert.deepEqual(headers.toObject(), { 'x-kept': '1', 'x-request-priority': 'high', 'x-forwarded-for': '198.51.100.1, 10.1.1.1', 'x-forwarded-proto': 'http', 'x-forwarded-host': 'shop' });
});

test('X-Forwarded-Port is believed together with X-Forwarded-For', async () => {
  for (const [clientAddressFrom, port] of [['x-forwarded-for', '8443'], ['forwarded', undefined]] as const) {
    const { headers } = await run('10.1.1.1', { 'X-Forwarded-For': '198.51.100.1', 'X-Forwarded-Port': '8443' }, { clientAddressFrom });
    assert.equal(headers.get('x-forwarded-port'), port);
  }
});

const converted: readonly (readonly [peer: string, clientAddressFrom: ForwardedOptions['clientAddressFrom'], fields: Fields, said: string])[] = [
  ['192.0.2.9', 'x-forwarded-for', { 'X-Forwarded-For': '6.6.6.6', Forwarded: 'for=6.6.6.6' }, 'for=192.0.2.9;proto=http;host="shop"'],
  ['10.1.1.1', 'x-forwarded-for', { 'X-Forwarded-For': '198.51.100.1:80, 2001:dc8::1', 'X-Forwarded-Proto': 'https', Forwarded: 'for=6.6.6.6' }, 'for=198.51.100.1, for="[2001:dc8::1]", for=10.1.1.1;proto=https;host="shop"'],
  ['10.1.1.1', 'x-forwarded-for', { Forwarded: 'for=6.6.6.6' }, 'for=10.1.1.1;proto=http;host="shop"'],
  ['2001:db8::1', 'forwarded', { Forwarded: ['for=6.6.6.6, for=junk', 'for=198.51.100.1;proto=https'] }, 'for=198.51.100.1, for="[2001:db8::1]";proto=https;host="shop"'],
];
for (const [peer, clientAddressFrom, fields, said] of converted) {
  test(`says it in Forwarded too where that is wanted: ${said}`, async () => {
    assert.deepEqual((await run(peer, fields, { standardField: true, clientAddressFrom })).headers.getAll('forwarded'), [said]);
  });
}
