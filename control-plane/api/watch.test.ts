import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { service, TestControlPlane } from '../../tests/support/control-plane.js';
import { until } from '../../tests/support/until.js';

/** One who watches. */
class TestWatcher {
  readonly events: EventSourceMessage[] = [];
  readonly #abort = new AbortController();
  #wake: (() => void) | undefined;
  isEnded = false;

  private constructor(readonly status: number) {}

  static async open(url: string, headers: Record<string, string> = {}): Promise<TestWatcher> {
    const abort = new AbortController();
    const response = await fetch(url, { headers, signal: abort.signal });
    const watcher = new TestWatcher(response.status);
    watcher.#abort.signal.addEventListener('abort', () => abort.abort());
    void watcher.#read(response);
    return watcher;
  }

  /** Versions of the first `count` revisions, once they are there. */
  async versions(count: number): Promise<number[]> {
    while (this.events.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.events.map(({ id }) => Number(id));
  }

  async ended(): Promise<void> {
    while (!this.isEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    const parser = createParser({ onEvent: (event) => this.events.push(event) });
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        parser.feed(decoder.decode(chunk, { stream: true }));
        this.#wake?.();
      }
    } catch {
      // Closed by the test.
    }
    this.isEnded = true;
    this.#wake?.();
  }
}

describe('watching', () => {
  let plane: TestControlPlane;
  before(async () => {
    plane = await TestControlPlane.start({ history: { revisions: 20 } });
  });
  after(() => plane.stop());
  const watch = (query = '', headers: Record<string, string> = {}): Promise<TestWatcher> => TestWatcher.open(`${plane.url}/v1/watch${query}`, headers);
  const version = async (): Promise<number> => (await plane.ask('GET', '/v1/services')).body.version;
  const write = (name: string, port: number): Promise<unknown> => plane.ask('PUT', `/v1/services/${name}`, service(name, `127.0.0.1:${port}`));

  test('whoever watches is told of each revision, once and in order, and with what it changed', async () => {
    const start = await version();
    const watchers = await Promise.all([watch(), watch(), watch()]);
    for (let round = 1; round <= 10; round++) await write('a', round);
    await plane.ask('DELETE', '/v1/services/a');
    for (const watcher of watchers) {
      assert.deepEqual(await watcher.versions(11), Array.from({ length: 11 }, (_, index) => start + index + 1));
      const { event, data } = watcher.events[1]!;
      const { by, action, changes } = JSON.parse(data) as Record<string, unknown>;
      assert.deepEqual([event, by, action, changes], ['revision', 'anonymous', 'update', [{ kind: 'Service', name: 'a', action: 'updated', before: service('a', '127.0.0.1:1'), after: service('a', '127.0.0.1:2') }]]);
      watcher.close();
    }
  });

  test('who comes back gets what it missed, and nothing twice', async () => {
    const first = await watch();
    await write('b', 1);
    const [seen] = await first.versions(1);
    first.close();
    await write('b', 2);
    await write('b', 3);
    const second = await watch('', { 'last-event-id': String(seen) });
    await write('b', 4);
    assert.deepEqual(await second.versions(3), [seen! + 1, seen! + 2, seen! + 3]);
    second.close();
    const third = await watch(`?since=${seen! + 1}`);
    assert.deepEqual(await third.versions(2), [seen! + 2, seen! + 3], 'the version of a list, say');
    third.close();
  });

  test('nothing is missed between a list and the watch that follows it, while others write', async () => {
    const writing = { goesOn: true };
    const writer = (async () => {
      for (let round = 1; writing.goesOn && round < 60_000; round++) await write('busy', round);
    })();
    for (let round = 0; round < 5; round++) {
      const since = await version();
      const watcher = await watch(`?since=${since}`);
      assert.deepEqual((await watcher.versions(4)).slice(0, 4), [since + 1, since + 2, since + 3, since + 4]);
      watcher.close();
    }
    writing.goesOn = false;
    await writer;
  });

  test('what history does not reach, or never was, is gone', async () => {
    const present = await version();
    for (const since of [1, present + 5]) {
      const { status, body } = await plane.ask('GET', '/v1/watch', undefined, { headers: { 'last-event-id': String(since) } });
      assert.deepEqual([status, body.code, body.current], [410, 'history_lost', { version: present }], String(since));
    }
    assert.equal((await plane.ask('GET', '/v1/watch', undefined, { headers: { 'last-event-id': 'x' } })).status, 422);
  });

  test('a reader that takes nothing is cut off, and holds nobody up', async () => {
    const alone = await TestControlPlane.start({ history: { revisions: 3 } });
    const slow: Socket = connect(alone.port, '127.0.0.1');
    slow.write('GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await new Promise((resolve) => slow.once('data', resolve));
    slow.pause();
    let isGone = false;
    slow.once('close', () => (isGone = true));
    slow.on('error', () => {});
    const quick = await TestWatcher.open(`${alone.url}/v1/watch`);
    // Each revision is half a megabyte or so; what the kernel takes for the reader goes by the megabyte.
    const many = (round: number): object[] => Array.from({ length: 60 }, (_, index) => service(`s-${index}`, ...Array.from({ length: 200 }, (__, port) => `10.0.0.${round + 1}:${port + 1}`)));
    let rounds = 0;
    for (; rounds < 60; rounds++) assert.equal((await alone.ask('POST', '/v1/apply', many(rounds))).status, 200);
    assert.equal((await quick.versions(rounds)).length, rounds);
    const { body } = await alone.ask('GET', '/v1/services');
    assert.equal(body.version, rounds);
    slow.resume();
    while (!isGone) await new Promise((resolve) => setImmediate(resolve));
    quick.close();
    await alone.stop();
  });

  test('when the control plane stops, watches end', async () => {
    const alone = await TestControlPlane.start();
    const watcher = await TestWatcher.open(`${alone.url}/v1/watch`);
    const exited = alone.stop();
    await watcher.ended();
    assert.equal((await exited).code, 0);
  });

  for (const [what, path] of [['watches', '/v1/watch'], ['streams of proxies', '/v1/proxies/NODE/stream?kind=gateway']] as const) {
    test(`${what} that are asked for behind another on its connection take no place`, async () => {
      const alone = await TestControlPlane.start();
      const socket = connect(alone.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(Array.from({ length: 300 }, (_, index) => `GET ${path.replace('NODE', `g-${index}`)} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join(''));
      await new Promise((resolve) => socket.once('data', resolve));
      const proxies = async (): Promise<number> => Number(/^control_plane_proxies_connected (\d+)$/m.exec((await alone.ask('GET', '/metrics')).text)![1]);
      assert.equal(await proxies(), what === 'watches' ? 0 : 1);
      const other = await TestWatcher.open(`${alone.url}/v1/watch`);
      assert.equal(other.status, 200);
      socket.destroy();
      await until(async () => (await proxies()) === 0);
      other.close();
      await alone.stop();
    });
  }

  test('there is a bound to how many watch', async () => {
    const alone = await TestControlPlane.start();
    const watchers = await Promise.all(Array.from({ length: 260 }, () => TestWatcher.open(`${alone.url}/v1/watch`)));
    const refused = watchers.filter(({ status }) => status === 503);
    assert.equal(refused.length, 4);
    for (const watcher of watchers) watcher.close();
    await alone.stop();
  });
});
