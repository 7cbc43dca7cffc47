const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** The value of `grpc-timeout` in milliseconds; undefined when it is none (at most eight digits and a unit). */
export function parseGrpcTimeout(value: string): number | undefined {
  if (!/^\d{1,8}[HMSmun]$/.test(value)) return undefined;
  return Number(value.slice(0, -1)) * unitMs[value.at(-1)!]!;
}

/** A time left, as `grpc-timeout` has it: in the finest unit that eight digits suffice for, never rounded up. */
export function formatGrpcTimeout(ms: number): string {
  if (ms < 100_000) return `${Math.max(1, Math.floor(ms * 1_000))}u`;
  if (ms < 100_000_000) return `${Math.floor(ms)}m`;
  if (ms < 100_000_000_000) return `${Math.floor(ms / 1_000)}S`;
  if (ms < 6_000_000_000_000) return `${Math.floor(ms / 60_000)}M`;
  return `${Math.min(99_999_999, Math.floor(ms / 3_600_000))}H`;
}
