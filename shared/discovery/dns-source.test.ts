import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { Answer } from 'dns-packet';
import { DiscoveryEvents } from '../../tests/support/discovery.js';
import { refusedPort } from '../../tests/support/origin.js';
import { TestDnsServer } from '../../tests/support/dns-server.js';
import { dnsDiscoverySchema } from '../config/discovery.js';
import type { EndpointConfig } from '../config/endpoints.js';
import { formatAddress } from '../config/units.js';
import { DnsSource } from './dns-source.js';

const name = 'orders.test';
/** Systems refuse to connect to it, on every machine alike. */
const unreachable = '255.255.255.255:53';

describe('endpoints from the DNS', () => {
  let server: TestDnsServer;
  let events: DiscoveryEvents;
  let source: DnsSource | undefined;
  beforeEach(async () => {
    server = await TestDnsServer.start();
    events = new DiscoveryEvents();
  });
  afterEach(async () => {
    source?.close();
    await server.close();
  });

  function start(config: object = {}, random = 0): void {
    const isService = 'type' in config;
    source = new DnsSource(
      dnsDiscoverySchema.parse({ name, ...(!isService && { port: 80 }), resolver: [`127.0.0.1:${server.port}`], timeout: 500, refreshMin: 1_000, refreshMax: 30_000, ...config }),
      { clock: events.clock, random: () => random },
    );
    events.start(source);
  }

  const found = async (): Promise<readonly string[]> => (await events.next('found')).addresses;
  const failed = async (): Promise<string> => (await events.next('failed')).failure.result;
  /** A look-up has ended and the next is waited for. */
  const rest = async (): Promise<void> => {
    while (events.clock.pending !== 1) await events.clock.advance(0);
  };

  test('takes A and AAAA, sorted, each once', async () => {
    server.set('A', name, ['127.0.0.2', '127.0.0.1', '127.0.0.2']);
    server.set('AAAA', name, ['::1']);
    start();
    assert.deepEqual(await found(), ['127.0.0.1:80', '127.0.0.2:80', '[::1]:80']);
  });

  for (const [family, expected] of [['ipv4', '127.0.0.1:80'], ['ipv6', '[::1]:80']] as const) {
    test(`asks for ${family} alone, if told to`, async () => {
      server.set('A', name, ['127.0.0.1']);
      server.set('AAAA', name, ['::1']);
      start({ family });
      assert.deepEqual(await found(), [expected]);
      assert.deepEqual(server.asked, [`udp ${family === 'ipv4' ? 'A' : 'AAAA'} ${name}`]);
    });
  }

  test('follows aliases, and believes no record of a name that was not asked for', async () => {
    const answers: Answer[] = [
      { type: 'CNAME', name, data: 'Elsewhere.test', ttl: 7 },
      { type: 'A', name: 'elsewhere.test', data: '127.0.0.1', ttl: 9 },
      { type: 'A', name: 'other.test', data: '127.0.0.66', ttl: 9 },
    ];
    server.records.set(`A ${name}`, answers);
    start({ family: 'ipv4' });
    assert.deepEqual(await found(), ['127.0.0.1:80']);
    await rest();
    await events.clock.advance(6_999);
    assert.equal(server.asked.length, 1, 'the alias lives 7 s');
    await events.clock.advance(1);
    await found();
  });

  for (const [ttl, random, pause] of [[5, 0, 5_000], [0, 0, 1_000], [3_600, 0, 30_000], [2 ** 31 + 9, 0, 1_000], [5, 1, 5_500]] as const) {
    test(`with a TTL of ${ttl} and chance ${random}, looks again after ${pause} ms`, async () => {
      server.set('A', name, ['127.0.0.1'], ttl);
      start({ family: 'ipv4' }, random);
      await found();
      await rest();
      await events.clock.advance(pause - 1);
      assert.equal(server.asked.length, 1);
      await events.clock.advance(1);
      await found();
    });
  }

  test('looks again ever more slowly while it fails, up to refreshMax', async () => {
    server.rcode = 'SERVFAIL';
    start({ family: 'ipv4', refreshMax: 5_000 });
    for (const [index, pause] of [1_000, 2_000, 4_000, 5_000, 5_000].entries()) {
      await failed();
      await rest();
      await events.clock.advance(pause - 1);
      assert.equal(server.asked.length, index + 1);
      await events.clock.advance(1);
    }
    await failed();
  });

  describe('failures, each by its name', () => {
    const cases: readonly (readonly [name: string, expected: string, arrange: (server: TestDnsServer) => void])[] = [
      ['a name that does not exist', 'not_found', (one) => one.records.clear()],
      ['a name without addresses', 'no_data', (one) => one.set('A', name, [])],
      ['a server that fails', 'server_failure', (one) => (one.rcode = 'SERVFAIL')],
      ['a server that refuses', 'server_failure', (one) => (one.rcode = 'REFUSED')],
      ['addresses that no endpoint can have', 'no_data', (one) => one.set('A', name, ['0.0.0.0', '255.255.255.255'])],
    ];
    for (const [title, expected, arrange] of cases) {
      test(title, async () => {
        server.set('A', name, ['127.0.0.1']);
        start({ family: 'ipv4' });
        await found();
        arrange(server);
        assert.equal((await events.turnUntil('failed', 100)).failure.result, expected);
      });
    }

    test('a server that is silent', async () => {
      server.silent = true;
      start();
      await events.clock.advance(499);
      assert.equal(events.all.length, 0);
      assert.equal((await events.turnUntil('failed', 1)).failure.result, 'timeout');
    });

    test('a port where nobody listens', async () => {
      start({ resolver: [`127.0.0.1:${await refusedPort()}`] });
      assert.equal(await failed(), 'server_failure');
    });

    test('an address that nothing can be sent to', async () => {
      start({ resolver: [unreachable] });
      assert.equal(await failed(), 'server_failure');
    });
  });

  test('when one family is not answered, what it said last still counts; when it is answered as empty, it is', async () => {
    server.set('A', name, ['127.0.0.1']);
    server.set('AAAA', name, ['::1']);
    start();
    await found();
    server.silent = ['AAAA'];
    server.set('A', name, ['127.0.0.2']);
    await rest();
    await events.clock.advance(1_000);
    assert.deepEqual((await events.turnUntil('found', 100)).addresses, ['127.0.0.2:80', '[::1]:80']);
    server.silent = false;
    server.set('AAAA', name, []);
    assert.deepEqual((await events.turnUntil('found', 100)).addresses, ['127.0.0.2:80']);
  });

  describe('a truncated answer', () => {
    beforeEach(() => {
      server.truncates = true;
      server.set('A', name, Array.from({ length: 300 }, (_, index) => `127.0.${index >> 8}.${(index & 255) || 1}`));
    });

    test('is fetched by TCP', async () => {
      start({ family: 'ipv4' });
      assert.equal((await found()).length, new Set(server.records.get(`A ${name}`)!.map((record) => record.type === 'A' && record.data)).size);
      assert.deepEqual(server.asked, [`udp A ${name}`, `tcp A ${name}`]);
    });

    const broken: readonly (readonly [name: string, tamper: (answer: Buffer) => Buffer | undefined])[] = [
      ['a connection that is closed', () => undefined],
      ['a message of another length than it says', (answer) => Buffer.concat([Buffer.from([0, 5]), answer.subarray(2)])],
      ['a message of no bytes', () => Buffer.from([0, 0])],
      ['bytes that are no message', () => Buffer.from([0, 4, 255, 255, 255, 255])],
    ];
    for (const [title, tamper] of broken) {
      test(`${title} is a failure, and leaves no connection`, async () => {
        server.tampersTcp = tamper;
        start({ family: 'ipv4' });
        assert.equal(await failed(), 'server_failure');
        while (server.connections.size > 0) await events.clock.advance(0);
      });
    }

    test('a connection that is silent ends with the time', async () => {
      server.tampersTcp = () => Buffer.from([1]);
      start({ family: 'ipv4' });
      while (server.connections.size === 0) await events.clock.advance(0);
      await events.clock.advance(500);
      assert.equal(await failed(), 'timeout');
      while (server.connections.size > 0) await events.clock.advance(0);
    });
  });

  describe('what is not the answer is not believed', () => {
    const forge = (change: (forged: Buffer) => unknown) => (answer: Buffer): Buffer[] => {
      const forged = Buffer.from(answer);
      // The address is in the last four bytes: whoever believes it, is seen to.
      forged[forged.length - 1] = 66;
      const changed = change(forged);
      return [Buffer.isBuffer(changed) ? changed : forged, answer];
    };
    const cases: readonly (readonly [name: string, tamper: (answer: Buffer) => Buffer[]])[] = [
      ['another id', forge((forged) => forged.writeUInt16BE((forged.readUInt16BE(0) + 1) & 65_535))],
      ['a query', forge((forged) => (forged[2]! &= 0x7f))],
      ['another operation', forge((forged) => (forged[2]! |= 0x28))],
      ['another question', forge((forged) => (forged[13] = 0x70))],
      ['another type of question', forge((forged) => (forged[12 + name.length + 3] = 28))],
      ['no question', forge((forged) => Buffer.concat([forged.subarray(0, 4), Buffer.from([0, 0]), forged.subarray(6, 12), forged.subarray(12 + name.length + 2 + 4)]))],
      ['an empty datagram', () => [] as Buffer[]],
      ['half a header', forge((forged) => forged.subarray(0, 7))],
      ['half a record', forge((forged) => forged.subarray(0, -3))],
      ['a name that points to itself', forge((forged) => Buffer.concat([forged.subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]))],
      ['noise', forge((forged) => Buffer.alloc(forged.length, 0xff))],
    ];
    for (const [title, tamper] of cases) {
      test(title, async () => {
        server.set('A', name, ['127.0.0.1']);
        server.tampers = title === 'an empty datagram' ? (answer) => [Buffer.alloc(0), answer] : tamper;
        start({ family: 'ipv4' });
        assert.deepEqual(await found(), ['127.0.0.1:80']);
      });

      test(`${title}, and nothing else, is no answer at all`, async () => {
        server.set('A', name, ['127.0.0.1']);
        server.tampers = (answer) => (title === 'an empty datagram' ? [Buffer.alloc(0)] : tamper(answer).slice(0, 1));
        start({ family: 'ipv4' });
        while (server.asked.length === 0) await events.clock.advance(0);
        assert.equal((await events.turnUntil('failed', 100)).failure.result, 'timeout');
      });
    }
  });

  describe('several resolvers', () => {
    let second: TestDnsServer;
    before(async () => {
      second = await TestDnsServer.start();
      second.set('A', name, ['127.0.0.2']);
    });
    after(() => second.close());

    test('the next is asked when one fails', async () => {
      server.rcode = 'SERVFAIL';
      start({ family: 'ipv4', resolver: [`127.0.0.1:${server.port}`, `127.0.0.1:${second.port}`] });
      assert.deepEqual(await found(), ['127.0.0.2:80']);
    });

    test('also when there is no way to it', async () => {
      start({ family: 'ipv4', resolver: [unreachable, `127.0.0.1:${second.port}`] });
      assert.deepEqual(await found(), ['127.0.0.2:80']);
    });

    test('but not when one says that there is no such name', async () => {
      start({ family: 'ipv4', resolver: [`127.0.0.1:${server.port}`, `127.0.0.1:${second.port}`] });
      assert.equal(await failed(), 'not_found');
    });
  });

  describe('SRV', () => {
    const endpoints = async (): Promise<unknown[]> => (await events.next('found')).endpoints.map(({ address, weight, priority }) => [formatAddress(address), weight, priority]);

    test('priority becomes rank, weight becomes weight and is shared by the addresses of a target', async () => {
      server.setServices(name, [
        { target: 'a.test', port: 81, priority: 10, weight: 60 },
        { target: 'b.test', port: 82, priority: 10, weight: 15 },
        { target: 'c.test', port: 83, priority: 500, weight: 5 },
      ]);
      server.set('A', 'a.test', ['127.0.0.1', '127.0.0.2']);
      server.set('A', 'b.test', ['127.0.0.3']);
      server.set('A', 'c.test', ['127.0.0.4']);
      start({ type: 'srv' });
      assert.deepEqual(await endpoints(), [['127.0.0.1:81', 1_000, 0], ['127.0.0.2:81', 1_000, 0], ['127.0.0.3:82', 500, 0], ['127.0.0.4:83', 1_000, 1]]);
    });

    const weights: readonly (readonly [name: string, targets: readonly (readonly [weight: number, addresses: number])[], expected: readonly number[]])[] = [
      ['beyond ours are scaled down', [[60_000, 1], [15_000, 1]], [1_000, 250]],
      ['below ours are scaled up', [[1, 1], [2, 1]], [500, 1_000]],
      ['that are shared by many addresses stay parts of 1', [[1, 10], [1, 1]], [100, 1_000]],
      ['of 0 are the smallest chance beside others', [[1, 1], [0, 1]], [1_000, 1]],
      ['of 0 are no more where all are shared by many addresses', [[1, 100], [0, 1]], [1_000, 1]],
      ['that are all 0 are alike', [[0, 1], [0, 2]], [1_000, 500]],
      ['as far apart as can be keep the lightest', [[65_535, 1], [1, 1]], [1_000, 1]],
    ];
    for (const [title, targets, expected] of weights) {
      test(`weights ${title}`, async () => {
        server.setServices(name, targets.map(([weight], index) => ({ target: `t${index}.test`, port: 81 + index, weight })));
        targets.forEach(([, addresses], index) => server.set('A', `t${index}.test`, Array.from({ length: addresses }, (_, last) => `127.0.${index}.${last + 1}`)));
        start({ type: 'srv', family: 'ipv4' });
        assert.deepEqual((await events.next('found')).endpoints.map(({ weight }) => weight), targets.flatMap(([, addresses], index) => Array<number>(addresses).fill(expected[index]!)));
      });
    }

    test('a target that says the service is not to be had, port 0, and a target that does not exist are left out and named', async () => {
      server.setServices(name, [{ target: '.', port: 81 }, { target: 'zero.test', port: 0 }, { target: 'gone.test', port: 81 }, { target: 'a.test', port: 81 }]);
      server.set('A', 'a.test', ['127.0.0.1']);
      start({ type: 'srv' });
      assert.deepEqual(await found(), ['127.0.0.1:81']);
      const ignored = events.all.flatMap((event) => (event.kind === 'ignored' ? event.details : [])).join('\n');
      for (const expected of [/a target of "\."/, /port 0 of zero\.test/, /gone\.test: there is no such name/]) assert.match(ignored, expected);
    });

    test('targets with many addresses have no more endpoints together than one name has, and those that go first are in', async () => {
      const targets = ['backup.test', 'a.test', 'b.test'];
      server.setServices(name, targets.map((target, index) => ({ target, port: 81, priority: index === 0 ? 1 : 0 })));
      targets.forEach((target, index) => server.set('A', target, Array.from({ length: 450 }, (_, last) => `127.${index}.${last >> 8}.${last & 255}`)));
      start({ type: 'srv', family: 'ipv4' });
      const addresses = await found();
      const of = (index: number): number => addresses.filter((address) => address.startsWith(`127.${index}.`)).length;
      assert.deepEqual([of(0), of(1), of(2)], [100, 450, 450]);
      assert.match(events.all.flatMap((event) => (event.kind === 'ignored' ? event.details : [])).join('\n'), /350 of 1350 endpoints of SRV .*: at most 1000 are used/);
    });

    test('whatever order they are answered in, the same records are the same endpoints in the same order', async () => {
      const services = [
        { target: 'b.test', port: 82, priority: 1 },
        { target: 'b.test', port: 81, priority: 1, weight: 3 },
        { target: 'b.test', port: 81, priority: 1, weight: 7 },
        { target: 'a.test', port: 83, priority: 2 },
        { target: 'a.test', port: 84, priority: 1 },
      ];
      server.set('A', 'a.test', ['127.0.0.1']);
      server.set('A', 'b.test', ['127.0.0.2']);
      const answers: (readonly EndpointConfig[])[] = [];
      for (let rotated = 0; rotated < services.length; rotated++) {
        server.setServices(name, [...services.slice(rotated), ...services.slice(0, rotated)]);
        if (rotated === 0) start({ type: 'srv', family: 'ipv4' });
        answers.push((await events.turnUntil('found', 100)).endpoints);
      }
      assert.deepEqual(answers[0]!.map(({ address }) => formatAddress(address)), ['127.0.0.1:84', '127.0.0.2:81', '127.0.0.2:81', '127.0.0.2:82', '127.0.0.1:83']);
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
    });

    test('of more records than are used those of the first rank are, and always the same', async () => {
      const hosts = Array.from({ length: 70 }, (_, index) => `127.0.0.${index + 1}`);
      hosts.forEach((host, index) => server.set('A', `t${index + 100}.test`, [host]));
      const services = hosts.map((_, index) => ({ target: `t${index + 100}.test`, port: 81, priority: index < 40 ? 5 : 0 }));
      for (const rotated of [0, 25, 50]) {
        server.setServices(name, [...services.slice(rotated), ...services.slice(0, rotated)]);
        if (rotated === 0) start({ type: 'srv', family: 'ipv4' });
        assert.deepEqual((await events.turnUntil('found', 100)).addresses, [...hosts.slice(40), ...hosts.slice(0, 34)].map((host) => `${host}:81`));
      }
    });

    test('the least TTL of records and addresses counts', async () => {
      server.setServices(name, [{ target: 'a.test', port: 81 }], 60);
      server.set('A', 'a.test', ['127.0.0.1'], 3);
      start({ type: 'srv', family: 'ipv4' });
      await found();
      await rest();
      await events.clock.advance(2_999);
      assert.equal(server.asked.length, 2);
      await events.clock.advance(1);
      await found();
    });

    test('a target that cannot be resolved for once keeps its addresses', async () => {
      server.setServices(name, [{ target: 'a.test', port: 81 }]);
      server.set('A', 'a.test', ['127.0.0.1']);
      server.set('AAAA', 'a.test', ['::1']);
      start({ type: 'srv' });
      await found();
      server.silent = ['AAAA'];
      await rest();
      await events.clock.advance(1_000);
      assert.deepEqual((await events.turnUntil('found', 100)).addresses, ['127.0.0.1:81', '[::1]:81']);
    });

    describe('one target of two', () => {
      const both = ['127.0.0.1:81', '127.0.0.2:82'];
      beforeEach(() => {
        server.setServices(name, [{ target: 'a.test', port: 81 }, { target: 'b.test', port: 82 }], 60);
        server.set('A', 'a.test', ['127.0.0.1'], 60);
        server.set('A', 'b.test', ['127.0.0.2'], 60);
      });

      for (const family of ['any', 'ipv4']) {
        test(`that nothing answers for (${family}) keeps its addresses, and is asked again soon`, async () => {
          start({ type: 'srv', family });
          assert.deepEqual(await found(), both);
          server.failing = ['A b.test'];
          await rest();
          await events.clock.advance(30_000);
          assert.deepEqual(await found(), both);
          server.failing = [];
          server.set('A', 'b.test', ['127.0.0.3']);
          await rest();
          await events.clock.advance(1_000);
          assert.deepEqual(await found(), ['127.0.0.1:81', '127.0.0.3:82']);
        });
      }

      for (const [title, gone] of [['no longer exists', () => server.records.delete('A b.test')], ['has no address any more', () => server.set('A', 'b.test', [])]] as const) {
        test(`that ${title} is dropped, and does not come back when its look-up fails`, async () => {
          start({ type: 'srv', family: 'ipv4' });
          assert.deepEqual(await found(), both);
          gone();
          await rest();
          await events.clock.advance(30_000);
          assert.deepEqual(await found(), ['127.0.0.1:81']);
          server.failing = ['A b.test'];
          await rest();
          await events.clock.advance(30_000);
          assert.deepEqual(await found(), ['127.0.0.1:81']);
        });
      }

      test('is no failure of the whole; both are', async () => {
        start({ type: 'srv', family: 'ipv4' });
        assert.deepEqual(await found(), both);
        server.failing = ['A a.test', 'A b.test'];
        await rest();
        await events.clock.advance(30_000);
        assert.equal(await failed(), 'server_failure');
      });
    });
  });
});
