import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { httpOrigin, refusedPort } from '../../tests/support/origin.js';
import { generate } from './generator.js';

describe('the load generator', () => {
  test('sends every class at its rate, and counts what came back', async () => {
    const origin = await httpOrigin((request, response) => response.writeHead(request.url === '/bad' ? 503 : 200).end());
    const targets = [`http://127.0.0.1:${origin.port}`];
    const result = await generate({ durationMs: 1_000, warmupMs: 200, seed: 1, classes: [{ name: 'good', rate: 100, targets, path: '/' }, { name: 'bad', rate: 50, targets, path: '/bad' }] });
    assert.deepEqual(result.classes.map(({ name, offered, sent, succeeded, dropped, statuses, errors }) => ({ name, offered, sent, succeeded, dropped, statuses, errors })), [
      { name: 'good', offered: 100, sent: 100, succeeded: 100, dropped: 0, statuses: { 200: 100 }, errors: {} },
      { name: 'bad', offered: 50, sent: 50, succeeded: 0, dropped: 0, statuses: { 503: 50 }, errors: {} },
    ]);
    assert.equal(result.offeredRate, 150);
    assert.equal(result.slices.reduce((sum, { offered }) => sum + offered, 0), 150);
    await origin.close();
  });

  test('a server that stalls shows in the percentiles of all who would have been served meanwhile', async () => {
    let stalledUntil = 0;
    const origin = await httpOrigin((_request, response) => {
      setTimeout(() => response.end(), Math.max(0, stalledUntil - performance.now()));
    });
    const running = generate({ durationMs: 1_000, warmupMs: 0, seed: 1, classes: [{ name: 'all', rate: 200, targets: [`http://127.0.0.1:${origin.port}`], path: '/' }] });
    stalledUntil = performance.now() + 500;
    const { all } = await running;
    // Half of the run was stalled: 100 requests waited 500 ms down to 0. A closed loop would have sent one, and
    // reported a median near zero.
    assert.ok(all.latency.p90 > 350, `p90 is ${all.latency.p90}`);
    assert.ok(all.latency.mean > 90, `mean is ${all.latency.mean}`);
    await origin.close();
  });

  test('a client that leaves closes its connection, and is counted', async () => {
    let [arrived, closed] = [0, 0];
    const origin = await httpOrigin((request) => {
      arrived++;
      request.on('close', () => closed++);
    });
    const result = await generate({ durationMs: 200, warmupMs: 0, seed: 1, classes: [{ name: 'all', rate: 50, targets: [`http://127.0.0.1:${origin.port}`], path: '/', leaveAfterMs: 500 }] });
    assert.deepEqual([result.all.sent, result.all.succeeded, result.all.errors], [10, 0, { left: 10 }]);
    // On a busy machine some may leave before they are connected.
    assert.ok(arrived > 0);
    while (closed < arrived) await new Promise((resolve) => setImmediate(resolve));
    await origin.close();
  });

  test('counts requests that it could not send or that got no answer', async () => {
    const port = await refusedPort();
    const refused = await generate({ durationMs: 200, warmupMs: 0, seed: 1, classes: [{ name: 'all', rate: 50, targets: [`http://127.0.0.1:${port}`], path: '/' }] });
    assert.deepEqual(refused.all.errors, { ECONNREFUSED: 10 });
    const origin = await httpOrigin(() => {});
    const stuck = await generate({ durationMs: 200, warmupMs: 0, seed: 1, maxInFlight: 3, timeoutMs: 400, classes: [{ name: 'all', rate: 100, targets: [`http://127.0.0.1:${origin.port}`], path: '/' }] });
    assert.deepEqual([stuck.all.sent, stuck.all.dropped], [3, 17]);
    await origin.close();
  });

  test('a rate counts the answers that came within the measured time, whenever they were asked for', async () => {
    const held: (() => void)[] = [];
    // Fifteen of each are sent, five of them in the warm-up: eight are answered in the middle of the run, the others after its end.
    const origin = await httpOrigin((request, response) => {
      held.push(() => response.writeHead(request.url === '/bad' ? 503 : 200).end());
      if (held.length === 16) for (const answer of held.splice(0)) answer();
    });
    const targets = [`http://127.0.0.1:${origin.port}`];
    let waiting: NodeJS.Timeout | undefined;
    const running = generate({ durationMs: 1_000, warmupMs: 500, seed: 1, classes: [{ name: 'good', rate: 10, targets, path: '/' }, { name: 'bad', rate: 10, targets, path: '/bad' }] }, (begunAt) => {
      waiting = setInterval(() => {
        if (performance.now() > begunAt + 1_000) for (const answer of held.splice(0)) answer();
      }, 5);
    });
    const { achievedRate, classes } = await running;
    clearInterval(waiting);
    assert.equal(achievedRate, 16);
    assert.deepEqual(classes.map(({ name, succeeded, achievedRate: answers, succeededRate }) => [name, succeeded, answers, succeededRate]), [['good', 10, 8, 8], ['bad', 0, 8, 0]]);
    await origin.close();
  });

  test('a generator that is starved says how late it sent', async () => {
    const origin = await httpOrigin((_request, response) => response.end());
    const classes = [{ name: 'all', rate: 100, targets: [`http://127.0.0.1:${origin.port}`], path: '/' }];
    const starved = generate({ durationMs: 500, warmupMs: 0, seed: 1, classes });
    for (const until = performance.now() + 250; performance.now() < until; );
    const { lateness, all } = await starved;
    assert.equal(all.sent, 50);
    assert.ok(lateness.p99 > 200 && lateness.p50 < lateness.p99, JSON.stringify(lateness));
    await origin.close();
  });
});
