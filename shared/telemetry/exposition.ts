import { Registry, type Metric, type MetricObject } from 'prom-client';
import { pauses } from '../clock/long-work.js';
import { isPacked, packedText } from './packed-histogram.js';

/** What the metrics of a registry say now, as plain data. */
export async function collectMetrics(registry: Registry): Promise<MetricObject[]> {
  const pause = pauses();
  // What a registry gives are the metrics themselves, whatever prom-client's types say.
  const metrics = registry.getMetricsAsArray() as unknown as { get(): MetricObject | Promise<MetricObject> }[];
  const collected: MetricObject[] = [];
  for (const metric of metrics) {
    collected.push(await metric.get());
    await pause();
  }
  return collected;
}

/** Metrics in the text format of Prometheus. There may be a hundred thousand lines: it is written in turns, while requests go on. */
export async function exposition(metrics: readonly MetricObject[]): Promise<Buffer> {
  const pause = pauses();
  const pieces: Buffer[] = [];
  for (const metric of metrics) {
    if (pieces.length > 0) pieces.push(Buffer.from('\n'));
    for (const text of isPacked(metric) ? packedText(metric) : [await textOf(metric)]) {
      pieces.push(Buffer.from(text));
      await pause();
    }
  }
  return Buffer.concat(pieces);
}

async function textOf(metric: MetricObject): Promise<string> {
  const registry = new Registry();
  registry.registerMetric({ name: metric.name, get: () => metric } as unknown as Metric);
  return `${await registry.getSingleMetricAsString(metric.name)}\n`;
}
