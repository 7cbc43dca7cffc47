import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Gauge, Histogram, Registry, type MetricObject } from 'prom-client';
import { turnsDuring } from '../../tests/support/turns.js';
import { atOnce, inTurns } from '../clock/long-work.js';
import { addUp, totals } from '../process/fleet/merge.js';
import { DurationHistogram } from './duration-histogram.js';
import { collectMetrics, exposition } from './exposition.js';

const bounds = [0.1, 0.5, 1];
const labels = ['/a', '/"b"\\\n', '/ü'].map((http_route) => ({ listener: 'public', http_response_status_code: 200, http_route }));

function histogramIn(registry: Registry, buckets: readonly number[] = bounds): DurationHistogram {
  return new DurationHistogram('duration', 'How long.', buckets, registry, { names: { has: () => true }, onGone: () => {} });
}

/** Series that were observed once at each of these. */
async function collected(series: readonly (readonly [(typeof labels)[number], number[]])[]): Promise<MetricObject[]> {
  const registry = new Registry();
  const histogram = histogramIn(registry);
  new Gauge({ name: 'omitted', help: 'Of one process.', aggregator: 'omit', registers: [registry] }).set(1);
  new Gauge({ name: 'summed', help: 'Of all.', labelNames: ['of'], registers: [registry] }).set({ of: 'all' }, 2);
  for (const [which, seconds] of series) for (const one of seconds) histogram.series(which.http_route, which).observe(one);
  return collectMetrics(registry);
}

describe('the text format', () => {
  test('is what prom-client writes of the same', async () => {
    const [ours, theirs] = [new Registry(), new Registry()];
    const histogram = histogramIn(ours);
    const other = new Histogram({ name: 'duration', help: 'How long.', buckets: bounds, labelNames: Object.keys(labels[0]!), registers: [theirs] });
    for (const registry of [ours, theirs]) new Gauge({ name: 'gauge', help: 'Now.', labelNames: ['of'], registers: [registry] }).set({ of: '"a"' }, 1.5);
    for (const one of labels) {
      const series = histogram.series(one.http_route, one);
      for (const seconds of [0.1, 0.25, 0.7, 1e-7, 99]) {
        series.observe(seconds);
        other.observe(one, seconds);
      }
    }
    assert.equal(String(await exposition(await collectMetrics(ours))), await theirs.metrics());
  });

  test('of several processes has their sums, and what is only in one of them', async () => {
    const [first, second, third] = labels as [(typeof labels)[number], (typeof labels)[number], (typeof labels)[number]];
    const both = await Promise.all([collected([[first, [0.2]], [second, [2]]]), collected([[third, [0.3]], [first, [0.1]]])]);
    const text = String(await exposition(await inTurns(addUp(both))));
    const whole = String(await exposition((await collected([[first, [0.2, 0.1]], [second, [2]], [third, [0.3]]])).filter(({ name }) => name !== 'omitted')));
    // Each of the one above is a series of its own there.
    const sums = new Map<string, number>();
    for (const [, name, value] of whole.matchAll(/^(duration.*) (\S+)$/gm)) sums.set(name!, (sums.get(name!) ?? 0) + Number(value));
    assert.deepEqual(new Map([...text.matchAll(/^(duration.*) (\S+)$/gm)].map(([, name, value]) => [name!, Number(value)])), sums);
    assert.deepEqual([...text.matchAll(/^(?:omitted|summed).*$/gm)].map(String), ['summed{of="all"} 4']);
    assert.deepEqual(totals(both).map(({ name }) => name), ['duration']);
    assert.deepEqual(atOnce(addUp([totals([both[0]]), both[1]])).find(({ name }) => name === 'duration'), totals(both)[0]);
  });

  test('is added up and written in turns', async () => {
    const registry = new Registry();
    const histogram = histogramIn(registry, Array.from({ length: 16 }, (_, index) => index));
    for (let route = 0; route < 5_000; route++) histogram.series(`/${route}`, { ...labels[0]!, http_route: `/${route}` });
    const metrics = await collectMetrics(registry);
    assert.ok((await turnsDuring(() => exposition(metrics))) > 3);
    assert.ok((await turnsDuring(() => inTurns(addUp(Array.from({ length: 20 }, () => metrics))))) > 3);
  });
});
