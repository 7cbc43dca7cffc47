/**
 * The wait that a `Retry-After` field asks for, in milliseconds; undefined when there is none or it makes no sense.
 * Its number is in seconds, its other form an HTTP date, of which there are three spellings (RFC 9110 sections 10.2.3 and 5.6.7).
 */
export function parseRetryAfter(field: string | undefined, wallNowMs: number): number | undefined {
  if (field === undefined) return undefined;
  if (/^\d{1,9}$/.test(field)) return Number(field) * 1_000;
  if (!httpDate.test(field)) return undefined;
  // asctime's names no time zone, and means UTC as the others do.
  const date = Date.parse(field.endsWith(' GMT') ? field : `${field} GMT`);
  return Number.isNaN(date) ? undefined : Math.max(0, date - wallNowMs);
}

const httpDate = /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT|[A-Z][a-z]+day, \d{2}-[A-Z][a-z]{2}-\d{2} [\d:]{8} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4})$/;
