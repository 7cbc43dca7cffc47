import type { Clock } from '../clock/clock.js';
import type { OnRefusal, RefusalReason } from '../listener/connection-limits.js';
import type { Logger } from './logger.js';
import type { ProxyMetrics } from './proxy-metrics.js';

/** How long a listener that turns connections away is quiet about it (ms). */
const quietMs = 60_000;

/** What a listener reports when it turns a connection away: every one is counted, and of each reason one a minute is worth a line. */
export function refusalReport(listener: string, { metrics, clock, logger }: { readonly metrics: ProxyMetrics; readonly clock: Clock; readonly logger: Logger }): OnRefusal {
  const quietUntil = new Map<RefusalReason, number>();
  return (limit, client) => {
    metrics.connectionRefused(listener, limit);
    const now = clock.now();
    if (now < (quietUntil.get(limit) ?? -Infinity)) return;
    quietUntil.set(limit, now + quietMs);
    const message = limit === 'descriptors' ? 'descriptors run out (ulimit -n): connections are closed' : 'a limit of connections was reached: further ones are closed';
    logger.warn({ listener, limit, ...(client !== undefined && { client }) }, message);
  };
}
