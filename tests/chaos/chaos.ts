import { seeded } from '../support/seeded.js';
import { ChaosClient, type Failure } from './client.js';
import { ChaosEndpoint } from './endpoint.js';
import { faultSchedule, type ScheduledFault } from './schedule.js';
import { StallWatch, type Stall } from './stall-watch.js';
import { Subject } from './subject.js';

interface ChaosOptions {
  readonly seconds: number;
  readonly seed: number;
}

export interface SubjectReport {
  readonly name: string;
  readonly sent: number;
  readonly failures: readonly (Failure & { readonly log: string })[];
  readonly retries: number;
  /** Retries that the budget refused: without any, every retry that is permitted was made. */
  readonly refusedRetries: number;
  readonly ejections: number;
  /** Open files before and after the load, once both were at rest; undefined where the system does not tell. */
  readonly handles: { readonly before: number; readonly after: number } | undefined;
  /** Connections to endpoints, requests and waiters that are left at rest, by the proxy's own account. */
  readonly leftOver: number;
  /** How resident memory grew from after the warm-up to the end (bytes). */
  readonly grownBytes: number | undefined;
  readonly exitCode: number | null;
}

export interface ChaosReport extends ChaosOptions {
  readonly schedule: readonly ScheduledFault[];
  /** When the machine stood still for the endpoints and the clients, which are in this process. */
  readonly stalls: readonly Stall[];
  readonly subjects: readonly SubjectReport[];
  /** The same faults met by a proxy without policies: what it loses shows that they are faults. */
  readonly unprotected: { readonly sent: number; readonly failed: number };
}

const rate = 120;
const unprotectedRate = 20;
const endpointCount = 6;
const faultsAtOnce = 3;
const restMs = 15_000;

/** One try more than there are endpoints that fail at a time, and time for all of them. */
const policies = {
  timeout: '8s',
  attemptTimeout: '1s',
  connectTimeout: '1s',
  // Unused connections are no leak; the endpoints say that they keep them for a minute.
  idleTimeout: '1s',
  maxIdleTimeout: '1s',
  retry: { attempts: faultsAtOnce + 1, backoff: { base: '5ms', max: '50ms' } },
  breaker: { errorThreshold: 50, volumeThreshold: 5, window: '2s', resetTimeout: '500ms' },
  outlierDetection: { consecutive5xx: 3, interval: '250ms', baseEjectionTime: '500ms', maxEjectionTime: '1s', maxEjectedPercent: 50 },
  healthCheck: { path: '/healthz', interval: '200ms', timeout: '500ms', unhealthyThreshold: 2, healthyThreshold: 2 },
};

/** Lets endpoints crash, hang, slow down and return under constant load through both proxies, and examines what became of it. */
export async function runChaos({ seconds, seed }: ChaosOptions): Promise<ChaosReport> {
  const durationMs = seconds * 1_000;
  const schedule = faultSchedule(seeded(seed), { endpoints: endpointCount, atOnce: faultsAtOnce, durationMs });
  const endpoints = await Promise.all(Array.from({ length: endpointCount }, () => ChaosEndpoint.start()));
  const addresses = endpoints.map(({ address }) => address);
  const started: Subject[] = [];
  const start = async (...what: Parameters<typeof Subject.start>): Promise<Subject> => {
    const subject = await Subject.start(...what);
    started.push(subject);
    return subject;
  };
  try {
    const subjects = await Promise.all([start('gateway', 'gateway', { endpoints: addresses, ...policies }), start('sidecar', 'sidecar', { endpoints: addresses, ...policies })]);
    const bare = await start('unprotected', 'sidecar', { endpoints: addresses, timeout: '1s' });
    const clients = subjects.map(({ port }) => new ChaosClient(port, rate));
    const bareClient = new ChaosClient(bare.port, unprotectedRate);
    const before = await Promise.all(subjects.map((subject) => prime(subject)));

    for (const client of [...clients, bareClient]) client.start();
    const stalls = new StallWatch();
    const memory = subjects.map(() => [] as number[]);
    const sampling = setInterval(() => subjects.forEach((subject, index) => memory[index]!.push(subject.residentBytes() ?? 0)), 250);
    await play(schedule, endpoints, durationMs);
    clearInterval(sampling);
    await Promise.all([...clients, bareClient].map((client) => client.stop()));
    await Promise.all([...clients, bareClient].map((client) => client.close()));

    const reports: SubjectReport[] = [];
    for (const [index, subject] of subjects.entries()) {
      const rest = await atRest(subject, before[index]);
      const [retries, refusedRetries, ejections] = await Promise.all(
        ['proxy_retries_total{upstream="shop",outcome="retried"}', 'proxy_retries_total{upstream="shop",outcome="budget_exhausted"}', 'proxy_outlier_ejections_total'].map((name) => subject.metric(name)),
      );
      const { failures, sent } = clients[index]!;
      reports.push({
        name: subject.name, sent, retries: retries!, refusedRetries: refusedRetries!, ejections: ejections!, leftOver: rest.leftOver,
        failures: failures.map((failure) => ({ ...failure, log: subject.logLine(failure.path) })),
        handles: rest.handles === undefined ? undefined : { before: before[index]!, after: rest.handles },
        grownBytes: subject.residentBytes() === undefined ? undefined : growth(memory[index]!),
        exitCode: (await subject.process.stop()).code,
      });
    }
    return { seconds, seed, schedule, stalls: stalls.stop(), subjects: reports, unprotected: { sent: bareClient.sent, failed: bareClient.failures.length } };
  } finally {
    for (const { process } of started) process.child.kill('SIGKILL');
    await Promise.all(started.map(({ process }) => process.exited));
    await Promise.all(endpoints.map((endpoint) => endpoint.close()));
  }
}

/** Lets a proxy do once what it opens files for and keeps; then counts them. */
async function prime(subject: Subject): Promise<number | undefined> {
  const client = new ChaosClient(subject.port, rate);
  client.start();
  await pause(500);
  await client.stop();
  await client.close();
  return (await atRest(subject, undefined)).handles;
}

async function play(schedule: readonly ScheduledFault[], endpoints: readonly ChaosEndpoint[], durationMs: number): Promise<void> {
  const startedAt = performance.now();
  const until = (ms: number): Promise<void> => pause(Math.max(0, ms - (performance.now() - startedAt)));
  await Promise.all(
    schedule.map(async ({ endpoint, kind, fromMs, toMs }) => {
      await until(fromMs);
      await endpoints[endpoint]!.begin(kind);
      await until(toMs);
      await endpoints[endpoint]!.heal();
    }),
  );
  await until(durationMs);
}

/** Waits until nothing is left of the load, and the handles are as they were; returns what there is at the latest. */
async function atRest(subject: Subject, before: number | undefined): Promise<{ leftOver: number; handles: number | undefined }> {
  const until = performance.now() + restMs;
  for (;;) {
    const leftOver = await subject.leftOver();
    await pause(30);
    // A health check has a connection for a moment: the least of a few looks is what stays open.
    const looks: (number | undefined)[] = [];
    for (let look = 0; look < 10; look++) {
      looks.push(subject.handles());
      await pause(20);
    }
    const handles = looks[0] === undefined ? undefined : Math.min(...looks.map((count) => count!));
    const isQuiet = leftOver === 0 && (before === undefined || handles === undefined || handles <= before);
    if (isQuiet || performance.now() > until) return { leftOver, handles };
  }
}

/** From the least of the samples in the second quarter to the least in the last: what a collection of garbage leaves. */
function growth(samples: readonly number[]): number {
  const quarter = Math.floor(samples.length / 4);
  return Math.min(...samples.slice(-quarter)) - Math.min(...samples.slice(quarter, 2 * quarter));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
