import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { DiscoveryEvents } from '../../tests/support/discovery.js';
import { TestDnsServer } from '../../tests/support/dns-server.js';
import { dnsDiscoverySchema } from '../config/discovery.js';
import { DnsSource } from './dns-source.js';
import { FileSource } from './file-source.js';
import type { DiscoverySource } from './source.js';

/** Where endpoints come from, as a test sees it: a list that it can exchange and break. */
interface Place {
  readonly source: DiscoverySource;
  readonly publish: (hosts: readonly string[]) => void;
  /** The same, with one entry that no endpoint can be made of. */
  readonly publishWithBad: (hosts: readonly string[]) => void;
  readonly breakIt: () => void;
  /** Whoever asks from here on waits, where that can be. */
  readonly hang: () => void;
  /** Whether something bad spoils the whole list, or only itself. */
  readonly isAllOrNothing: boolean;
  readonly isIdle: () => boolean;
  readonly remove: () => Promise<void>;
}

const port = 9_000;
const step = 20;

async function dnsPlace(type: 'a' | 'srv', { clock }: DiscoveryEvents): Promise<Place> {
  const server = await TestDnsServer.start();
  const config = { name: 'orders.test', type, ...(type === 'a' && { port }), resolver: [`127.0.0.1:${server.port}`], timeout: 500, refreshMin: 1_000, refreshMax: 4_000 };
  const publish = (hosts: readonly string[]): void => {
    server.rcode = 'NOERROR';
    if (type === 'a') {
      server.set('A', 'orders.test', hosts);
      return;
    }
    server.setServices('orders.test', hosts.map((host) => ({ target: `h${host.replaceAll('.', '-')}.test`, port })));
    for (const host of hosts) server.set('A', `h${host.replaceAll('.', '-')}.test`, [host]);
  };
  return {
    source: new DnsSource(dnsDiscoverySchema.parse(config), { clock, random: () => 0 }),
    publish,
    publishWithBad: (hosts) => publish([...hosts, '224.0.0.1']),
    breakIt: () => (server.rcode = 'SERVFAIL'),
    hang: () => (server.silent = true),
    isAllOrNothing: false,
    isIdle: () => server.connections.size === 0,
    remove: () => server.close(),
  };
}

async function filePlace({ clock }: DiscoveryEvents): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
  const file = join(directory, 'endpoints.yaml');
  const write = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  const lines = (hosts: readonly string[]): string => hosts.map((host) => `- ${host}:${port}\n`).join('');
  return {
    source: new FileSource(file, { clock }),
    publish: (hosts) => write(lines(hosts)),
    publishWithBad: (hosts) => write(`${lines(hosts)}- no address\n`),
    breakIt: () => write('- [unclosed'),
    hang: () => {},
    isAllOrNothing: true,
    isIdle: () => true,
    remove: async () => rmSync(directory, { recursive: true }),
  };
}

const places: readonly (readonly [name: string, open: (events: DiscoveryEvents) => Promise<Place>])[] = [
  ['the DNS, by addresses', (events) => dnsPlace('a', events)],
  ['the DNS, by services', (events) => dnsPlace('srv', events)],
  ['a file', filePlace],
];

for (const [name, open] of places) {
  describe(`endpoints from ${name}`, () => {
    const run = (title: string, body: (place: Place, events: DiscoveryEvents) => Promise<void>): void => {
      test(title, async () => {
        const events = new DiscoveryEvents();
        const place = await open(events);
        try {
          await body(place, events);
        } finally {
          place.source.close();
          await place.remove();
        }
      });
    };

    run('the list is told as soon as it is known', async ({ source, publish }, events) => {
      publish(['127.0.0.1', '127.0.0.2']);
      events.start(source);
      const { addresses, endpoints } = await events.next('found');
      assert.deepEqual(addresses, ['127.0.0.1:9000', '127.0.0.2:9000']);
      const { weight } = endpoints[0]!;
      assert.deepEqual(endpoints.map((endpoint) => [endpoint.weight, endpoint.priority]), [[weight, 0], [weight, 0]], 'all alike');
    });

    run('a change is told, without a restart', async ({ source, publish }, events) => {
      publish(['127.0.0.1']);
      events.start(source);
      await events.next('found');
      publish(['127.0.0.2', '127.0.0.3']);
      assert.deepEqual((await events.turnUntil('found', step)).addresses, ['127.0.0.2:9000', '127.0.0.3:9000']);
    });

    run('a failure is told as one and never as an empty list; then comes what is there again', async ({ source, publish, breakIt }, events) => {
      publish(['127.0.0.1']);
      events.start(source);
      await events.next('found');
      breakIt();
      const { failure } = await events.turnUntil('failed', step);
      assert.ok(failure.details.length > 0);
      publish(['127.0.0.2']);
      assert.deepEqual((await events.turnUntil('found', step)).addresses, ['127.0.0.2:9000']);
      assert.ok(events.all.every((event) => event.kind !== 'found' || event.addresses.length > 0));
    });

    run('what fails from the start is found once it is there', async ({ source, publish, breakIt }, events) => {
      breakIt();
      events.start(source);
      await events.next('failed');
      publish(['127.0.0.1']);
      assert.deepEqual((await events.turnUntil('found', step)).addresses, ['127.0.0.1:9000']);
    });

    run('what cannot be an endpoint is named, and harms nothing else', async ({ source, publish, publishWithBad, isAllOrNothing }, events) => {
      publish(['127.0.0.1']);
      events.start(source);
      await events.next('found');
      publishWithBad(['127.0.0.2']);
      if (isAllOrNothing) {
        assert.match((await events.turnUntil('failed', step)).failure.details.join(), /\[1\]: expected an address/);
        return;
      }
      assert.match((await events.turnUntil('ignored', step)).details.join(), /224\.0\.0\.1/);
      assert.deepEqual((await events.next('found')).addresses, ['127.0.0.2:9000']);
    });

    run('closed, it leaves no timer, asks nothing and says nothing', async ({ source, publish, isIdle }, events) => {
      publish(['127.0.0.1']);
      events.start(source);
      await events.next('found');
      source.close();
      publish(['127.0.0.2']);
      await events.clock.advance(60_000);
      assert.equal(events.clock.pending, 0);
      assert.equal(isIdle(), true);
      assert.equal(events.all.length, 1);
    });

    run('closed while it looks, it ends that too', async ({ source, publish, hang, isIdle }, events) => {
      publish(['127.0.0.1']);
      hang();
      events.start(source);
      source.close();
      // Its time-outs must not be what ends it: time stands still here.
      while (events.clock.pending > 0) await events.clock.advance(0);
      assert.equal(isIdle(), true);
      assert.deepEqual(events.all, []);
    });
  });
}

describe('endpoints from a file', () => {
  test('says all that is wrong with it once, not at each look', async () => {
    const events = new DiscoveryEvents();
    const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
    const file = join(directory, 'endpoints.json');
    const source = new FileSource(file, { clock: events.clock });
    events.start(source);
    assert.match((await events.next('failed')).failure.details.join(), /ENOENT/);
    writeFileSync(file, JSON.stringify(['127.0.0.1:0', { address: '127.0.0.1:9000', weight: 0, colour: 'red' }]));
    const { details, result } = (await events.turnUntil('failed', step)).failure;
    assert.equal(result, 'invalid');
    for (const expected of [/\[0\]: expected an address/, /\[1\]\.weight/, /\[1\]\.colour: unknown key/]) assert.ok(details.some((line) => expected.test(line)), `${String(expected)} in ${details.join('\n')}`);
    const before = events.all.length;
    await events.clock.advance(10_000);
    writeFileSync(file, JSON.stringify([{ address: '127.0.0.1:9000', weight: 3, zone: 'a', priority: 1, labels: { version: 'v2' } }]));
    const { endpoints } = await events.turnUntil('found', step);
    assert.equal(events.all.length, before + 1);
    assert.deepEqual(endpoints, [{ address: { host: '127.0.0.1', port: 9_000 }, weight: 3, zone: 'a', priority: 1, labels: { version: 'v2' } }]);
    source.close();
    rmSync(directory, { recursive: true });
  });

  const notFiles: readonly (readonly [name: string, make: (path: string) => void])[] = [
    ['a FIFO that nobody writes to', (path) => void execFileSync('mkfifo', [path])],
    ['a device without an end', (path) => symlinkSync('/dev/zero', path)],
    ['a directory', (path) => mkdirSync(path)],
  ];
  for (const [name, make] of notFiles) {
    test(`${name} is refused, and a file that comes to be there is read`, { skip: process.platform === 'win32' ? 'there are none' : false }, async () => {
      const events = new DiscoveryEvents();
      const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
      const file = join(directory, 'endpoints.yaml');
      make(file);
      const source = new FileSource(file, { clock: events.clock });
      events.start(source);
      assert.deepEqual((await events.next('failed')).failure, { result: 'unreadable', details: [`${file} cannot be read (it is no regular file)`] });
      rmSync(file, { recursive: true });
      writeFileSync(file, '- 127.0.0.1:9000\n');
      assert.deepEqual((await events.turnUntil('found', step)).addresses, ['127.0.0.1:9000']);
      source.close();
      rmSync(directory, { recursive: true });
    });
  }

  test('a file that is too long is refused', async () => {
    const events = new DiscoveryEvents();
    const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
    const file = join(directory, 'endpoints.yaml');
    writeFileSync(file, '#'.repeat(2 ** 20 + 1));
    const source = new FileSource(file, { clock: events.clock });
    events.start(source);
    const { result, details } = (await events.next('failed')).failure;
    assert.equal(result, 'unreadable');
    assert.match(details.join(), /more than 1048576 bytes/);
    source.close();
    rmSync(directory, { recursive: true });
  });

  test('a file that is being written is not believed before it rests', async () => {
    const events = new DiscoveryEvents();
    const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
    const file = join(directory, 'endpoints.yaml');
    writeFileSync(file, '- 127.0.0.1:9000\n- 127.0.0.2:9000\n');
    const source = new FileSource(file, { clock: events.clock });
    events.start(source);
    await events.next('found');
    writeFileSync(file, '- 127.0.0.3:9000\n');
    // The look after a second sees the first half, and is waiting for it to rest once its timer is set.
    await events.clock.advance(1_000);
    while (events.clock.pending === 0) await events.clock.advance(0);
    writeFileSync(file, '- 127.0.0.3:9000\n- 127.0.0.4:9000\n');
    assert.deepEqual((await events.turnUntil('found', step)).addresses, ['127.0.0.3:9000', '127.0.0.4:9000']);
    source.close();
    rmSync(directory, { recursive: true });
  });
});
