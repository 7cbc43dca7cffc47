/*
 * The `grpc-timeout` field: at most eight digits and a unit
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** A `grpc-timeout` in milliseconds; undefined when there is none or it makes no sense. */
export function parseGrpcTimeout(field: string | undefined): number | undefined {
  if (field === undefined || !/^\d{1,8}[HMSmun]$/.test(field)) return undefined;
  return Number(field.slice(0, -1)) * unitMs[field.at(-1)!]!;
}

/** The finest unit in which `ms` fits eight digits; rounded up, so that what is left a little does not become nothing. */
export function formatGrpcTimeout(ms: number): string {
  for (const unit of ['u', 'm', 'S', 'M', 'H']) {
    const value = Math.ceil(Math.max(0, ms) / unitMs[unit]!);
    if (value < 1e8) return `${value}${unit}`;
  }
  return '99999999H';
}
