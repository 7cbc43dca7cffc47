import { build } from 'hdr-histogram-js';
import type { Socket } from 'node:net';
import { AnswerReader, open, readyEvent, requestsFor, takenLines, target, type LoadReport } from './target.js';

/*
 * As many requests as a number of keep-alive connections manage, each after the answer to the one before: a closed
 * loop, which measures cost and throughput. Its percentiles say nothing about a load that does not wait.
 */

const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
let requests = 0;
let failed = 0;
let endAt = Infinity;
let connected = 0;
/** What is not answered by then is given up (ms after the end). */
const patienceMs = 10_000;

/** Resolves when the connection is closed: by us after an answer past the end, or else a request was lost with it, or could not be sent. */
function run(index: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = open();
    const nextRequest = requestsFor(index);
    const reader = new AnswerReader();
    let sentAt = 0;
    let isDone = false;
    const send = (): void => {
      sentAt = performance.now();
      socket.write(nextRequest(), 'latin1');
    };
    const onAnswer = (isOk: boolean): void => {
      const now = performance.now();
      requests++;
      if (!isOk) failed++;
      histogram.recordValue(Math.max(1, Math.round((now - sentAt) * 1_000)));
      isDone = now >= endAt;
      if (isDone) socket.end();
      else send();
    };
    socket.once(readyEvent, () => {
      if (++connected === target.connections) begin();
      send();
    });
    socket.on('data', (data) => reader.take(data, onAnswer));
    // A close follows, which tells whether it matters.
    socket.on('error', () => {});
    socket.on('close', () => {
      if (!isDone) failed++;
      resolve();
    });
    sockets.push(socket);
  });
}

const sockets: Socket[] = [];
let startedAt = performance.now();
// Time counts from when every connection is there: handshakes are no requests.
function begin(): void {
  startedAt = performance.now();
  requests = 0;
  histogram.reset();
  endAt = startedAt + target.seconds * 1_000;
  setTimeout(() => sockets.forEach((socket) => socket.destroy()), target.seconds * 1_000 + patienceMs).unref();
  process.stdout.write('begin\n');
}

await Promise.all(Array.from({ length: target.connections }, (_, index) => run(index)));
const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1_000;
const seconds = (performance.now() - startedAt) / 1_000;
const report: LoadReport = { taken: takenLines(), requests, failed, late: 0, seconds, rate: requests / seconds, p50: at(50), p90: at(90), p99: at(99) };
process.stdout.write(`${JSON.stringify(report)}\n`);
