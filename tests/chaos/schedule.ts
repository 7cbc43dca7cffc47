export const faults = ['crash', 'hang', 'stall', 'slow', 'error', 'reset'] as const;
/**
 * `crash`: connections are reset, also those with a request on them, and none is taken. `hang`: nothing is answered, what is
 * under way included. `stall`: answers come too late. `slow`: they come late, but in time. `error`: they are 503. `reset`: a
 * request breaks its connection.
 */
export type FaultKind = (typeof faults)[number];

export interface ScheduledFault {
  readonly endpoint: number;
  readonly kind: FaultKind;
  readonly fromMs: number;
  readonly toMs: number;
}

/** How long after a fault an endpoint may still be left out: ejection, a breaker's pause, checks that must pass. */
export const settleMs = 2_000;

/**
 * Faults of endpoints over time, the same for the same seed. At any time all but `atOnce` endpoints are well, and have been
 * for long enough that every proxy knows it: so every request has an endpoint that would answer it.
 */
export function faultSchedule(random: () => number, { endpoints, atOnce, durationMs }: { readonly endpoints: number; readonly atOnce: number; readonly durationMs: number }): ScheduledFault[] {
  const schedule: ScheduledFault[] = [];
  const settledAt = new Array<number>(endpoints).fill(0);
  const between = (low: number, high: number): number => low + random() * (high - low);
  for (let at = between(200, 600); at < durationMs; at += between(100, 500)) {
    const well = settledAt.flatMap((time, index) => (time <= at ? [index] : []));
    if (well.length <= endpoints - atOnce) continue;
    const endpoint = well[Math.floor(random() * well.length)]!;
    const toMs = Math.min(durationMs, at + between(200, 2_500));
    schedule.push({ endpoint, kind: faults[Math.floor(random() * faults.length)]!, fromMs: at, toMs });
    settledAt[endpoint] = toMs + settleMs;
  }
  return schedule;
}
