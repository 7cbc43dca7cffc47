import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { httpOrigin, readBody } from '../../tests/support/origin.js';
import { until } from '../../tests/support/until.js';
import type { Timer } from '../clock/clock.js';
import { FakeClock } from '../clock/fake-clock.js';
import { ConfigError } from '../config/load.js';
import { silentLogger } from '../telemetry/logger.js';
import { PemStore } from '../tls/pem-store.js';
import { ControlPlaneLink } from './control-plane-link.js';
import type { Apply } from './put-in-force.js';
import { SnapshotClient } from './snapshot-client.js';
import type { Answer, Rejection } from './snapshot.js';

/** With chance at 0.9 these are the waits before the client comes back (ms), and nothing else waits as long. */
const waits = [450, 900, 1_800, 3_600, 4_500, 4_500];

class RecordingClock extends FakeClock {
  readonly waited: number[] = [];

  override after(delayMs: number, callback: () => void): Timer {
    if (waits.includes(delayMs)) this.waited.push(delayMs);
    return super.after(delayMs, callback);
  }
}

/** A client, and a control plane that sends what the test says to whoever connects. */
async function start(context: TestContext, onStream: (stream: ServerResponse, count: number) => void, { apply, snapshotFile, onAnswer = (response) => response.writeHead(204).end() }: { readonly apply?: Apply; readonly snapshotFile?: string; readonly onAnswer?: (response: ServerResponse) => void } = {}) {
  const clock = new RecordingClock();
  const answers: Answer[] = [];
  const applied: unknown[] = [];
  const news = new EventEmitter<{ connected: []; answered: [] }>();
  let streams = 0;
  const plane = await httpOrigin((request, response) => {
    if (request.url!.includes('/stream')) return onStream(response.writeHead(200, { 'content-type': 'text/event-stream' }), ++streams);
    void readBody(request).then((body) => {
      onAnswer(response);
      answers.push(JSON.parse(body) as Answer);
      news.emit('answered');
    });
  });
  const pems = new PemStore(clock);
  const link = new ControlPlaneLink({ urls: [`http://127.0.0.1:${plane.port}`], pems, clock, random: () => 0, logger: silentLogger });
  const client = new SnapshotClient({
    link, node: 'one', kind: 'gateway', hasIdentity: false, snapshotFile, clock, random: () => 0.9, logger: silentLogger,
    apply: async (document) => {
      await apply?.(document);
      applied.push(document);
    },
    onConnected: (isConnected) => isConnected && news.emit('connected'),
  });
  context.after(async () => {
    await client.close();
    link.close();
    pems.close();
    await plane.close();
  });
  return { client, clock, answers, applied, news, streams: () => streams };
}

const event = (version: string, data: string = JSON.stringify({ version, config: {} })): string => `event: snapshot\nid: ${version}\ndata: ${data}\n\n`;

describe('the client of the stream of snapshots', () => {
  const unreadable: readonly (readonly [name: string, data: string, reason: RegExp])[] = [
    ['is not JSON', '{"version":', /^it cannot be read: .*JSON/],
    ['is none', JSON.stringify({ version: 'v1', config: {}, vacated: 'none' }), /^it cannot be read: [^]*vacated/],
  ];
  for (const [name, data, reason] of unreadable) {
    test(`rejects what ${name}, and takes the next one of the same stream`, async (context) => {
      let stream: ServerResponse | undefined;
      const { client, answers, applied, news, streams } = await start(context, (opened) => (stream = opened).write(event('v1', data)));
      const answered = once(news, 'answered');
      await client.start();
      await answered;
      assert.deepEqual([answers[0]!.version, answers[0]!.accepted], ['v1', false]);
      assert.match(answers[0]!.reason!, reason);
      const next = once(news, 'answered');
      stream!.write(event('v2'));
      await next;
      assert.deepEqual([answers[1], applied.length, streams()], [{ version: 'v2', accepted: true }, 1, 1]);
    });
  }

  test('reads over what is too long, and takes the next one of the same stream', async (context) => {
    const { client, answers, news, streams } = await start(context, (stream) => {
      stream.write(event('v1', 'x'.repeat(17 * 1_024 * 1_024)));
      stream.write(event('v2'));
    });
    const answered = once(news, 'answered');
    await client.start();
    await answered;
    assert.deepEqual([answers, streams()], [[{ version: 'v2', accepted: true }], 1]);
  });

  test('waits longer each time while it is cut off, whatever was sent, and begins anew after a stream that lived', async (context) => {
    let last: ServerResponse | undefined;
    const { client, clock, answers, news } = await start(context, (stream, count) => {
      stream.write(event(String(count)));
      if (count < waits.length) stream.end();
      else last = stream;
    });
    void client.start();
    for (let count = 1; count < waits.length; count++) {
      await until(() => clock.waited.length === count && answers.length === count);
      const connected = once(news, 'connected');
      await clock.advance(clock.waited.at(-1)!);
      await connected;
    }
    await until(() => answers.length === waits.length);
    await clock.advance(10_000);
    last!.end();
    await until(() => clock.waited.length === waits.length);
    assert.deepEqual(clock.waited, [...waits.slice(0, -1), waits[0]]);
  });

  test('starts, goes on and ends while the control plane takes its time over an answer; then it hears the newest', async (context) => {
    let stream: ServerResponse | undefined;
    const held: ServerResponse[] = [];
    const { client, answers, applied } = await start(context, (opened) => (stream = opened).write(event('v1')), { onAnswer: (response) => held.push(response) });
    await client.start();
    for (const version of ['v2', 'v3']) {
      const count = applied.length + 1;
      stream!.write(event(version, JSON.stringify({ version, config: { version } })));
      await until(() => applied.length === count);
    }
    await until(() => answers.length === 1);
    held[0]!.writeHead(204).end();
    await until(() => answers.length === 2);
    assert.deepEqual(answers, [{ version: 'v1', accepted: true }, { version: 'v3', accepted: true }]);
    const startedAt = performance.now();
    await client.close();
    // What an answer has is 5 s.
    assert.ok(performance.now() - startedAt < 4_000);
  });

  test('lets a proxy without a snapshot start that is sent nothing but comments', async (context) => {
    const { client, clock, news } = await start(context, (stream) => stream.write(':\n\n'));
    const connected = once(news, 'connected');
    let hasStarted = false;
    const started = client.start().then(() => (hasStarted = true));
    await connected;
    await clock.advance(9_999);
    assert.equal(hasStarted, false);
    await clock.advance(1);
    await started;
  });
});

describe('a snapshot that is in force but for parts', () => {
  const before = { inbound: {}, routes: [], upstreams: {} };
  const sources = { 'inbound.jwt': 'Policy/tokens' };
  const snapshot = (version: string, config: object): string => event(version, JSON.stringify({ version, config, sources }));
  const [jwt, route] = [{ inbound: { jwt: { jwks: '/nothing' } } }, { routes: [{ name: 'bad' }] }];
  const [jwtRejected, routeRejected] = [{ path: 'inbound.jwt', reason: 'inbound.jwt: ENOENT', resource: 'Policy/tokens' }, { path: 'routes[0]', reason: 'routes[0]: is wrong' }];
  const cases: readonly (readonly [name: string, parts: object, rejections: readonly Rejection[]])[] = [
    ['a part with a problem', route, [routeRejected]],
    ['a part that it cannot be built with', jwt, [jwtRejected]],
    ['one of each', { ...jwt, ...route }, [jwtRejected, routeRejected]],
  ];
  for (const [name, parts, rejections] of cases) {
    test(`is answered for as the first time whenever it comes again, and put in force whole once it can be: ${name}`, async (context) => {
      const directory = mkdtempSync(join(tmpdir(), 'snapshot-'));
      context.after(() => rmSync(directory, { recursive: true, force: true }));
      let canBeUsed = false;
      const apply: Apply = async (document) => {
        if (canBeUsed) return;
        const { inbound, routes } = document as { inbound: object; routes: object[] };
        if (routes.length > 0) throw new ConfigError([{ path: 'routes[0]', message: 'is wrong' }]);
        if ('jwt' in inbound) throw new Error('ENOENT');
      };
      /** What a proxy, started anew, answers to these, each on a stream of its own. */
      const answersTo = async (...events: readonly string[]): Promise<Answer[]> => {
        const { client, clock, answers } = await start(context, (stream, count) => {
          assert.equal(stream.req.headers['last-event-id'], count === 2 ? 'v0' : undefined);
          stream.write(events[count - 1]);
          if (count < events.length) stream.end();
        }, { apply, snapshotFile: join(directory, 'snapshot.json') });
        void client.start();
        for (let count = 1; count < events.length; count++) {
          await until(() => answers.length === count && clock.waited.length === count);
          await clock.advance(clock.waited.at(-1)!);
        }
        await until(() => answers.length === events.length);
        await client.close();
        return answers;
      };
      const next = { ...before, ...parts, upstreams: { orders: { endpoints: [] } } };
      const inPart = (version: string): Answer => ({ version, accepted: true, rejections: [...rejections] });
      // A version is of more than the document: v2 has the one of v1.
      assert.deepEqual(await answersTo(snapshot('v0', before), snapshot('v1', next), snapshot('v1', next), snapshot('v2', next)), [{ version: 'v0', accepted: true }, inPart('v1'), inPart('v1'), inPart('v2')]);
      assert.deepEqual(await answersTo(snapshot('v2', next)), [inPart('v2')]);
      canBeUsed = true;
      assert.deepEqual(await answersTo(snapshot('v2', next)), [{ version: 'v2', accepted: true }]);
    });
  }

  test('does not excuse another: one whose bad part is all that is new is rejected', async (context) => {
    const apply: Apply = async (document) => {
      const { routes } = document as { routes: object[] };
      if (routes.length > 0) throw new ConfigError(routes.map((_, index) => ({ path: `routes[${index}]`, message: 'is wrong' })));
    };
    let stream: ServerResponse | undefined;
    const { client, answers, news } = await start(context, (opened) => (stream = opened).write(snapshot('v1', { ...before, ...route })), { apply });
    for (const [version, config] of [['v2', { routes: [{ name: 'bad' }, { name: 'worse' }] }], ['v3', route]] as const) {
      const answered = once(news, 'answered');
      if (version === 'v2') await client.start();
      await answered;
      stream!.write(snapshot(version, { ...before, ...config }));
    }
    await until(() => answers.length === 3);
    assert.deepEqual(answers.map(({ version, accepted }) => [version, accepted]), [['v1', true], ['v2', false], ['v3', true]]);
  });
});
