import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { DeadlineSweep } from '../../shared/clock/deadline-sweep.js';
import type { ProxyError } from '../../shared/errors/proxy-error.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import { exchange, request, response } from '../../tests/support/policy.js';
import { Passthrough } from './passthrough.js';

/** Passes through to endpoints that answer with their address; `addresses` is what the DNS says, and may change. */
function start(addresses: Record<string, readonly string[] | Promise<readonly string[]>>, own = 'none') {
  const clock = new FakeClock();
  const sweep = new DeadlineSweep(clock, [1_000]);
  const asked: string[] = [];
  const opened: string[] = [];
  const closed: string[] = [];
  const passthrough = new Passthrough({
    clock, sweep, random: () => 0, pems: new PemStore(clock),
    isOwnAddress: (host, port) => `${host}:${port}` === own,
    isOfThisMachine: (address) => address === '10.0.0.1',
    guard: (endpoint) => {
      endpoint.service = () => Promise.resolve(response(200, { 'X-Endpoint': endpoint.name }));
      opened.push(endpoint.name);
      endpoint.onClose = () => closed.push(endpoint.name);
    },
    resolve: async (name) => {
      asked.push(name);
      return (await addresses[name]) ?? Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }));
    },
  });
  return {
    clock, asked, opened, closed, passthrough,
    send: async (authority: string, over = exchange()): Promise<string> => {
      try {
        return (await passthrough.service(request(over, { authority }), over)).headers.get('x-endpoint')!;
      } catch (error) {
        return (error as ProxyError).code;
      }
    },
  };
}

describe('a host that is no upstream', () => {
  const cases: readonly (readonly [name: string, authority: string, expected: string])[] = [
    ['gets the request where the DNS says, on port 80', 'shop.example', '192.0.2.1:80'],
    ['gets it on the port that was asked for', 'shop.example:8080', '192.0.2.1:8080'],
    ['may be an address', '[2001:db8::1]:81', '[2001:db8::1]:81'],
    ['that the DNS does not know has no endpoint', 'nowhere.example', 'no_endpoint'],
    ['that leads to loopback is refused', 'local.example', 'no_route'],
    ['that leads to loopback in IPv6 is refused', 'local6.example', 'no_route'],
    ['that leads to loopback in another guise is refused', 'mapped.example', 'no_route'],
    ['that leads to the unspecified address is refused: it is this machine too', 'any.example', 'no_route'],
    ['that leads to something else on this machine is refused', 'self.example:15000', 'no_route'],
    ['that leads to this proxy is a loop', 'self.example:15001', 'loop_detected'],
    ['of which one address is elsewhere goes there', 'both.example', '192.0.2.2:80'],
    ['with a port that is none has no endpoint', 'shop.example:0', 'no_endpoint'],
  ];
  for (const [name, authority, expected] of cases) {
    test(name, async () => {
      const { send } = start(
        { 'shop.example': ['192.0.2.1'], '2001:db8::1': ['2001:db8::1'], 'local.example': ['127.0.0.2'], 'local6.example': ['::1'], 'mapped.example': ['::ffff:127.0.0.1'], 'any.example': ['0.0.0.0'], 'self.example': ['10.0.0.1'], 'both.example': ['127.0.0.1', '192.0.2.2'] },
        '10.0.0.1:15001',
      );
      assert.equal(await send(authority), expected);
    });
  }

  test('is looked up once, and anew in the background when that has become old; what is known serves meanwhile', async () => {
    const addresses: Record<string, readonly string[]> = { 'shop.example': ['192.0.2.1'] };
    const { send, clock, asked } = start(addresses);
    assert.deepEqual(await Promise.all([send('shop.example'), send('shop.example')]), ['192.0.2.1:80', '192.0.2.1:80']);
    addresses['shop.example'] = ['192.0.2.9'];
    assert.equal(await send('shop.example'), '192.0.2.1:80');
    assert.equal(asked.length, 1);
    await clock.advance(31_000);
    assert.equal(await send('shop.example'), '192.0.2.1:80');
    await clock.advance(0);
    assert.equal(await send('shop.example'), '192.0.2.9:80');
    delete addresses['shop.example'];
    await clock.advance(31_000);
    for (let time = 0; time < 2; time++) assert.equal(await send('shop.example'), '192.0.2.9:80');
    assert.equal(asked.length, 3);
  });

  test('is forgotten when there are too many, the one not used for longest first', async () => {
    const addresses = Object.fromEntries(Array.from({ length: 258 }, (_, index) => [`h${index}.example`, [`192.0.2.${index % 250}`]]));
    const { send, asked, closed } = start(addresses);
    for (let index = 0; index < 256; index++) await send(`h${index}.example`);
    await send('h0.example');
    await send('h256.example');
    assert.deepEqual(closed, ['192.0.2.1:80']);
    assert.equal(asked.length, 257);
    await send('h0.example');
    assert.equal(asked.length, 257);
    await send('h1.example');
    assert.equal(asked.length, 258);
  });

  test('waits for the DNS no longer than its caller does, and not with any number of others', async () => {
    const addresses = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`h${index}.example`, new Promise<never>(() => {})]));
    const { send } = start(addresses);
    const over = exchange();
    const waiting = send('h0.example', over);
    for (let index = 1; index < 64; index++) void send(`h${index}.example`);
    assert.equal(await send('h64.example'), 'overloaded');
    over.cancellation.cancel(Object.assign(new Error(), { code: 'gone' }));
    assert.equal(await waiting, 'gone');
  });

  test('that leads nowhere is not looked up again for a moment', async () => {
    const addresses: Record<string, readonly string[]> = { 'local.example': ['127.0.0.2'] };
    const { send, clock, asked } = start(addresses);
    for (let time = 0; time < 3; time++) assert.deepEqual([await send('shop.example'), await send('local.example')], ['no_endpoint', 'no_route']);
    assert.equal(asked.length, 2);
    addresses['shop.example'] = ['192.0.2.1'];
    await clock.advance(4_999);
    assert.equal(await send('shop.example'), 'no_endpoint');
    await clock.advance(1);
    assert.equal(await send('shop.example'), '192.0.2.1:80');
    assert.equal(asked.length, 3);
  });

  test('that leads nowhere is forgotten when there are too many, the one met first before the others', async () => {
    const { send, asked } = start({});
    for (let index = 0; index < 257; index++) await send(`h${index}.example`);
    await send('h1.example');
    await send('h256.example');
    assert.equal(asked.length, 257);
    await send('h0.example');
    assert.equal(asked.length, 258);
  });

  test('that could not be asked about is asked about again at once', async () => {
    const addresses: Record<string, readonly string[] | Promise<readonly string[]>> = { 'shop.example': Promise.reject(Object.assign(new Error('try again'), { code: 'EAI_AGAIN' })) };
    const { send, asked } = start(addresses);
    assert.equal(await send('shop.example'), 'no_endpoint');
    addresses['shop.example'] = ['192.0.2.1'];
    assert.equal(await send('shop.example'), '192.0.2.1:80');
    assert.deepEqual(asked, ['shop.example', 'shop.example']);
  });

  test('that is found when nobody passes anything through any more still gets the request, and leaves nothing open', async () => {
    let answer: ((addresses: readonly string[]) => void) | undefined;
    const { send, passthrough, opened, closed } = start({ 'shop.example': new Promise((resolve) => (answer = resolve)) });
    const waiting = send('shop.example');
    passthrough.close();
    answer!(['192.0.2.1']);
    assert.equal(await waiting, '192.0.2.1:80');
    assert.deepEqual([opened, closed], [['192.0.2.1:80'], ['192.0.2.1:80']]);
  });

  test('that is found anew when it was forgotten meanwhile leaves nothing open', async () => {
    let answer: ((addresses: readonly string[]) => void) | undefined;
    const addresses: Record<string, readonly string[] | Promise<readonly string[]>> = { 'shop.example': ['192.0.2.1'] };
    const { send, clock, passthrough, opened, closed } = start(addresses);
    await send('shop.example');
    await clock.advance(31_000);
    addresses['shop.example'] = new Promise((resolve) => (answer = resolve));
    await send('shop.example');
    passthrough.close();
    answer!(['192.0.2.9']);
    await clock.advance(0);
    assert.deepEqual([opened, closed], [['192.0.2.1:80'], ['192.0.2.1:80']]);
  });
});
