import type { ChaosReport } from './chaos.js';
import { settleMs } from './schedule.js';

type Failed = ChaosReport['subjects'][number]['failures'][number];

const maxGrownBytes = 40 * 2 ** 20;
/** How long a retry counts against the budget that bounds the next; its default. */
const budgetWindowMs = 10_000;

/**
 * A machine that stands still has no endpoint that is well: checks and attempts time out everywhere, every breaker opens, and the
 * proxy refuses until checks have passed and a breaker has closed, as after any other fault. Failures until then prove nothing.
 * What was tried again meanwhile has used up the retry budget: until its window has passed, a request that meets a fault may find no
 * retry permitted. The log says so of each.
 */
function examined({ subjects, stalls }: ChaosReport): ChaosReport['subjects'] {
  const isExcused = ({ atMs, endMs, log }: Failed): boolean => {
    const afterMs = isRetryRefused(log) ? budgetWindowMs : settleMs;
    return stalls.some(({ fromMs, toMs }) => atMs < toMs + afterMs && endMs > fromMs);
  };
  return subjects.map((subject) => ({ ...subject, failures: subject.failures.filter((failure) => !isExcused(failure)) }));
}

/** By the flags of the access log: UO is said of a refused retry, and of a refused attempt, which is no last one unless all were made (URX). */
function isRetryRefused(log: string): boolean {
  const flags = /"flags":"([^"]*)"/.exec(log)?.[1]!.split(',') ?? [];
  return flags.includes('UO') && !flags.includes('URX');
}

/** What a run must not have shown, in sentences; nothing if all is well. */
export function violations(report: ChaosReport): string[] {
  const { unprotected, schedule, seconds, stalls } = report;
  return [
    ...examined(report).flatMap(({ name, sent, failures, retries, refusedRetries, handles, leftOver, grownBytes, exitCode }) => [
      ...failures.slice(0, 20).map(({ atMs, method, path, what, log }) =>
        `${name}: ${method} ${path} failed at ${(atMs / 1_000).toFixed(2)} s, though an endpoint was well all along: ${what}\n  ${log}\n  faults: ${JSON.stringify(schedule.filter(({ fromMs, toMs }) => fromMs < atMs + 2_000 && toMs > atMs - 4_000))}`),
      ...(failures.length > 20 ? [`${name}: ${failures.length} failed in all, of ${sent}`] : []),
      // Else what failed may have failed for want of a retry, and what did not proves little.
      // While the machine stands still every request asks for one.
      ...(refusedRetries > 0 && stalls.length === 0 ? [`${name}: the budget refused ${refusedRetries} retries`] : []),
      ...(retries === 0 ? [`${name}: no retry was needed: nothing happened`] : []),
      ...(leftOver > 0 ? [`${name}: ${leftOver} connections, requests and waiters are left`] : []),
      ...(handles !== undefined && handles.after > handles.before ? [`${name}: ${handles.after} open files, ${handles.before} before`] : []),
      ...(grownBytes !== undefined && grownBytes > maxGrownBytes ? [`${name}: memory grew by ${(grownBytes / 2 ** 20).toFixed(1)} MiB`] : []),
      ...(exitCode === 0 ? [] : [`${name}: ended with ${exitCode}`]),
    ]),
    // One in a hundred is far below what a quarter of the endpoints failing comes to.
    ...(unprotected.failed < unprotected.sent / 100 ? [`without policies ${unprotected.failed} of ${unprotected.sent} failed in ${seconds} s: the faults are none`] : []),
  ];
}

/** A run in a line for each proxy. */
export function summary({ seconds, seed, schedule, subjects, stalls, unprotected }: ChaosReport): string {
  return [
    `seed ${seed}: ${schedule.length} faults in ${seconds} s; without policies ${unprotected.failed} of ${unprotected.sent} requests failed${stalls.length === 0 ? '' : `; the machine stood still ${stalls.length} times`}`,
    ...subjects.map(({ name, sent, failures, retries, ejections, handles, grownBytes }) =>
      `${name}: ${failures.length} of ${sent} failed; ${retries} retries, ${ejections} ejections; open files ${handles?.before ?? '?'} before and ${handles?.after ?? '?'} after; memory ${grownBytes === undefined ? '?' : (grownBytes / 2 ** 20).toFixed(1)} MiB more`),
  ].join('\n');
}
