import type { MetricObject } from 'prom-client';
import type { Steps } from '../clock/long-work.js';

/** What all series of a histogram have counted at a time, as it is passed between processes: of each a text, and numbers in a row. */
export interface PackedHistogram extends MetricObject {
  readonly bounds: readonly number[];
  /** Of each series its labels, as they are written. */
  readonly labels: readonly string[];
  /** Series after series: observations by bucket, those above every bound, and the sum of what was observed. */
  readonly numbers: Float64Array;
}

const seriesInStep = 32;

export function isPacked(metric: MetricObject): metric is PackedHistogram {
  return 'numbers' in metric;
}

/** Labels as they stand between braces. */
export function labelText(labels: Readonly<Record<string, string | number>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${String(value).replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/"/g, '\\"')}"`)
    .join();
}

/** Those of several processes, added up. */
export function* addUpPacked(all: readonly PackedHistogram[]): Steps<PackedHistogram> {
  const width = all[0]!.bounds.length + 2;
  const rows = new Map<string, number>();
  for (const { labels } of all) {
    for (const [row, text] of labels.entries()) {
      if (!rows.has(text)) rows.set(text, rows.size);
      if (row % seriesInStep === 0) yield;
    }
  }
  const sums = new Float64Array(rows.size * width);
  for (const { labels, numbers } of all) {
    for (const [row, text] of labels.entries()) {
      const [from, to] = [row * width, rows.get(text)! * width];
      for (let index = 0; index < width; index++) sums[to + index]! += numbers[from + index]!;
      if (row % seriesInStep === 0) yield;
    }
  }
  return { ...all[0]!, labels: [...rows.keys()], numbers: sums };
}

/** Its lines in the text format, some series at a time. */
export function* packedText({ name, help, type, bounds, labels, numbers }: PackedHistogram): Generator<string> {
  const width = bounds.length + 2;
  const buckets = [...bounds, '+Inf'].map((bound) => `${name}_bucket{le="${bound}",`);
  let text = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  for (let row = 0; row < labels.length; row++) {
    const labelled = `${labels[row]!}} `;
    let at = row * width;
    let count = 0;
    for (const bucket of buckets) text += `${bucket}${labelled}${(count += numbers[at++]!)}\n`;
    text += `${name}_sum{${labelled}${numbers[at]!}\n${name}_count{${labelled}${count}\n`;
    if ((row + 1) % seriesInStep > 0) continue;
    yield text;
    text = '';
  }
  yield text;
}
