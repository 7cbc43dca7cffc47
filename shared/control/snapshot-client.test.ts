import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, test, type TestContext } from 'node:test';
import { httpOrigin, readBody } from '../../tests/support/origin.js';
import { until } from '../../tests/support/until.js';
import type { Timer } from '../clock/clock.js';
import { FakeClock } from '../clock/fake-clock.js';
import { silentLogger } from '../telemetry/logger.js';
import { PemStore } from '../tls/pem-store.js';
import { ControlPlaneLink } from './control-plane-link.js';
import { SnapshotClient } from './snapshot-client.js';
import type { Answer } from './snapshot.js';

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
async function start(context: TestContext, onStream: (stream: ServerResponse, count: number) => void) {
  const clock = new RecordingClock();
  const answers: Answer[] = [];
  const applied: unknown[] = [];
  const news = new EventEmitter<{ connected: []; answered: [] }>();
  let streams = 0;
  const plane = await httpOrigin((request, response) => {
    if (request.url!.includes('/stream')) return onStream(response.writeHead(200, { 'content-type': 'text/event-stream' }), ++streams);
    void readBody(request).then((body) => {
      response.writeHead(204).end();
      answers.push(JSON.parse(body) as Answer);
      news.emit('answered');
    });
  });
  const pems = new PemStore(clock);
  const link = new ControlPlaneLink({ urls: [`http://127.0.0.1:${plane.port}`], pems, clock, random: () => 0, logger: silentLogger });
  const client = new SnapshotClient({
    link, node: 'one', kind: 'gateway', hasIdentity: false, clock, random: () => 0.9, logger: silentLogger,
    apply: async (document) => void applied.push(document),
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
      await until(() => clock.waited.length === count);
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
