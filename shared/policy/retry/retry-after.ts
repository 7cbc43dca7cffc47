/**
 * The wait that a `Retry-After` field asks for, in milliseconds; undefined when there is none or it makes no sense.
 * Its number is in seconds, its other form an HTTP date (RFC 9110 section 10.2.3).
 */
export function parseRetryAfter(field: string | undefined, wallNowMs: number): number | undefined {
  if (field === undefined) return undefined;
  if (/^\d{1,9}$/.test(field)) return Number(field) * 1_000;
  const date = /^[A-Z][a-z]{2}, /.test(field) ? Date.parse(field) : NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - wallNowMs);
}
