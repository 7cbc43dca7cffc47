import { build } from 'hdr-histogram-js';
import { AnswerReader, open, readyEvent, requestFor, target, type LoadReport } from './target.js';

/*
 * As many requests as a number of keep-alive connections manage, each after the answer to the one before: a closed
 * loop, which measures cost and throughput. Its percentiles say nothing about a load that does not wait.
 */

const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
let requests = 0;
let failed = 0;
let endAt = Infinity;
let connected = 0;

function run(index: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = open();
    const request = requestFor(index);
    const reader = new AnswerReader();
    let sentAt = 0;
    const send = (): void => {
      sentAt = performance.now();
      socket.write(request, 'latin1');
    };
    const onAnswer = (isOk: boolean): void => {
      const now = performance.now();
      requests++;
      if (!isOk) failed++;
      histogram.recordValue(Math.max(1, Math.round((now - sentAt) * 1_000)));
      if (now < endAt) send();
      else socket.end();
    };
    socket.once(readyEvent, () => {
      if (++connected === target.connections) begin();
      send();
    });
    socket.on('data', (data) => reader.take(data, onAnswer));
    socket.on('error', () => failed++);
    socket.on('close', () => resolve());
  });
}

let startedAt = performance.now();
// Time counts from when every connection is there: handshakes are no requests.
function begin(): void {
  startedAt = performance.now();
  requests = 0;
  histogram.reset();
  endAt = startedAt + target.seconds * 1_000;
  process.stdout.write('begin\n');
}

await Promise.all(Array.from({ length: target.connections }, (_, index) => run(index)));
const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1_000;
const report: LoadReport = { requests, failed, rate: (requests / (performance.now() - startedAt)) * 1_000, p50: at(50), p90: at(90), p99: at(99) };
process.stdout.write(`${JSON.stringify(report)}\n`);
