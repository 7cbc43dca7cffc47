import { fieldKind } from './field-names.js';
import type { Headers } from './headers.js';

/*
 * What one proxy tells the next about a request, under the names that Envoy gave these fields: applications and
 * tools know them. They are removed from requests of strangers (`fieldKind.mesh`).
 */

/** How often the request was sent before and with this attempt; missing on the first. */
export const attemptCountField = 'X-Envoy-Attempt-Count';
const attemptCount = attemptCountField.toLowerCase();

/** How long the answer is waited for, in whole milliseconds. */
export const expectedTimeoutField = 'X-Envoy-Expected-Rq-Timeout-Ms';
export const expectedTimeout = expectedTimeoutField.toLowerCase();

export const priorityField = 'X-Request-Priority';

/** The number of the attempt that a request is: 1 when it is not a retry, or says nothing sensible. */
export function attemptNumber(headers: Headers): number {
  if (!headers.hasKind(fieldKind.mesh)) return 1;
  const field = headers.get(attemptCount);
  return field !== undefined && /^[1-9]\d{0,3}$/.test(field) ? Number(field) : 1;
}
