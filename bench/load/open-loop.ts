import { build } from 'hdr-histogram-js';
import { onTimeMs } from './on-time.js';
import { AnswerReader, open, readyEvent, requestsFor, takenLines, target, type LoadReport } from './target.js';

/*
 * Requests at a constant rate, whatever became of those before: an open loop. A request's time counts from when its turn
 * came, so that waiting for a busy connection shows (Tene, "How NOT to measure latency"). Its turn comes at a tick of a timer
 * of a millisecond, when all are sent that are due: the generator shares its processor with the origin and may not spin, and
 * that millisecond would drown what a hop adds. What was meant to be sent longer ago hides the time that it would have waited:
 * those are counted, and too many of them make the figures worth nothing.
 */

const rate = target.rate!;
const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
let answered = 0;
let failed = 0;
let late = 0;

/** Sends one request on a connection of its own, now or when those before it are answered. */
type Lane = (meantAt: number) => void;

const lanes = await Promise.all(
  Array.from({ length: target.connections }, (_, index) => new Promise<Lane>((resolve) => {
    const socket = open();
    const nextRequest = requestsFor(index);
    const reader = new AnswerReader();
    const waiting: number[] = [];
    let inFlight: number | undefined;
    const next = (): void => {
      inFlight = waiting.shift();
      if (inFlight !== undefined) socket.write(nextRequest(), 'latin1');
    };
    socket.on('error', () => failed++);
    socket.on('data', (data) => reader.take(data, (isOk) => {
      if (isOk) answered++;
      else failed++;
      histogram.recordValue(Math.max(1, Math.round((performance.now() - inFlight!) * 1_000)));
      next();
    }));
    socket.once(readyEvent, () => resolve((meantAt) => {
      waiting.push(meantAt);
      if (inFlight === undefined) next();
    }));
  })),
);

/** Sends at the rate for so long, and waits for what is still to be answered. Says how many were not, or not well. */
function runFor(seconds: number): Promise<number> {
  const total = Math.round(rate * seconds);
  const startedAt = performance.now();
  let sent = 0;
  answered = failed = late = 0;
  return new Promise((resolve) => {
    const turn = (): void => {
      const now = performance.now();
      for (; sent < total; sent++) {
        const intendedAt = startedAt + (sent * 1_000) / rate;
        if (intendedAt > now) break;
        if (now - intendedAt > onTimeMs) late++;
        lanes[sent % lanes.length]!(now);
      }
      if (answered + failed >= total || now > startedAt + (seconds + 10) * 1_000) resolve(total - answered);
      else setTimeout(turn, 1);
    };
    turn();
  });
}

const failedBefore = await runFor(target.runInSeconds ?? 0);
histogram.reset();
process.stdout.write('begin\n');
const startedAt = performance.now();
const failedSince = await runFor(target.seconds);
const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1_000;
const seconds = (performance.now() - startedAt) / 1_000;
const report: LoadReport = { taken: takenLines(), requests: answered, failed: failedBefore + failedSince, late: late / (rate * target.seconds), seconds, rate: answered / seconds, p50: at(50), p90: at(90), p99: at(99) };
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
