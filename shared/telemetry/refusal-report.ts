import type { Clock } from '../clock/clock.js';
import { onceAMinute } from '../clock/once-a-minute.js';
import type { OnRefusal, RefusalReason } from '../listener/connection-limits.js';
import type { Logger } from './logger.js';
import type { ProxyMetrics } from './proxy-metrics.js';

/** What a listener reports when it turns a connection away: every one is counted, and of each reason one a minute is worth a line. */
export function refusalReport(listener: string, { metrics, clock, logger }: { readonly metrics: ProxyMetrics; readonly clock: Clock; readonly logger: Logger }): OnRefusal {
  const mayTell = new Map<RefusalReason, () => boolean>();
  return (limit, client) => {
    metrics.connectionRefused(listener, limit);
    let mayTellOfIt = mayTell.get(limit);
    if (mayTellOfIt === undefined) mayTell.set(limit, (mayTellOfIt = onceAMinute(clock)));
    if (!mayTellOfIt()) return;
    const message = limit === 'descriptors' ? 'descriptors run out (ulimit -n): connections are closed' : 'a limit of connections was reached: further ones are closed';
    logger.warn({ listener, limit, ...(client !== undefined && { client }) }, message);
  };
}
