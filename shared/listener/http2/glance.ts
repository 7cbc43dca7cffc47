/** How often a client that may have left without anybody hearing of it is looked after (ms). */
const glanceMs = 250;

/** When to look next (clock reading, ms): one point in time for all connections, for which the sweep need look only once. */
export function nextGlance(now: number): number {
  return (Math.floor(now / glanceMs) + 1) * glanceMs;
}
