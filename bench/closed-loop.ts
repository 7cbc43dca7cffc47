import { build } from 'hdr-histogram-js';
import { connect } from 'node:net';

/*
 * As many requests as a number of keep-alive connections manage, each after the answer to the one before: a closed
 * loop, which measures cost and throughput. Its percentiles say nothing about a load that does not wait.
 */

const [port, seconds, connections] = process.argv.slice(2).map(Number) as [number, number, number];
const request = `GET /orders/7?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\nX-Client: 7\r\n\r\n`;
const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
let requests = 0;
let failed = 0;
const startedAt = performance.now();
const endAt = startedAt + seconds * 1_000;

await Promise.all(Array.from({ length: connections }, () => new Promise<void>((resolve) => {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let sentAt = 0;
  const send = (): void => {
    sentAt = performance.now();
    socket.write(request, 'latin1');
  };
  socket.on('connect', send);
  socket.on('data', (data) => {
    // The whole answer comes in one segment: it is far below any.
    const now = performance.now();
    requests++;
    if (data.toString('latin1', 9, 12) !== '200' || data[data.length - 1] !== 125) failed++;
    histogram.recordValue(Math.max(1, Math.round((now - sentAt) * 1_000)));
    if (now < endAt) send();
    else socket.end();
  });
  socket.on('error', () => failed++);
  socket.on('close', () => resolve());
})));

process.stdout.write(JSON.stringify({ requests, failed, rate: (requests / (performance.now() - startedAt)) * 1_000, p50: histogram.getValueAtPercentile(50) / 1_000, p99: histogram.getValueAtPercentile(99) / 1_000 }));
