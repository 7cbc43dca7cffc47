import type { Clock } from '../../clock/clock.js';
import type { AdaptiveConcurrencyConfig } from '../../config/resilience.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest } from '../../http/message.js';
import type { Layer } from '../../http/service.js';
import type { AdaptiveLimit, Lesson } from './adaptive-limit.js';

interface AdaptiveConcurrencyDependencies {
  readonly clock: Clock;
  /** Shared by all that send to the same service. */
  readonly limit: AdaptiveLimit;
  readonly onShed?: (priority: string) => void;
}

/** A level without a configuration of levels. */
const onlyLevel = 'default';

/**
 * Admits as many requests at a time as the service was found to be able to work on, and sheds the rest with `overloaded`.
 *
 * Each level of priority may use its share of the limit, so that the lowest is shed first. A request takes its place until its
 * answer begins, which is also what its latency is, but for the time in which its client sent it: how long clients take is
 * not the service's doing, and slow readers must not lock others out. The limit learns from answers and from attempts that ran out of time; a 5xx or 429 is
 * often faster than the work it stands for, and teaches nothing. Nor does an answer, or a timeout, that came while more of the request was the client's to send: what is left of its time is
 * next to nothing, and its client would say how fast the service is.
 */
export function adaptiveConcurrency(config: AdaptiveConcurrencyConfig, { clock, limit, onShed }: AdaptiveConcurrencyDependencies): Layer {
  const levelOf = levels(config.priority);
  return (next) =>
    async function adaptiveConcurrency(request, exchange) {
      const level = levelOf(request, exchange);
      const startedAt = clock.now();
      if (!limit.tryEnter(level.share, startedAt)) {
        onShed?.(level.name);
        throw new ProxyError('overloaded', { fields: { 'Retry-After': '1' } });
      }
      const { arrival } = request.body;
      const sentBefore = arrival?.sendingMs(startedAt) ?? 0;
      let lesson: Lesson = 'nothing';
      try {
        const response = await next(request, exchange);
        if (response.status < 500 && response.status !== 429) lesson = 'answered';
        return response;
      } catch (error) {
        if (error instanceof ProxyError && (error.code === 'deadline_exceeded' || error.code === 'upstream_timeout')) lesson = 'timed-out';
        throw error;
      } finally {
        const now = clock.now();
        const sendingMs = arrival === undefined ? 0 : arrival.sendingMs(now) - sentBefore;
        const isUnknown = arrival !== undefined && !arrival.isComplete && (sendingMs > 0 || arrival.isOwed);
        limit.leave(startedAt, now, isUnknown ? 'nothing' : lesson, sendingMs);
      }
    };
}

interface Level {
  readonly name: string;
  readonly share: number;
}

function levels(config: AdaptiveConcurrencyConfig['priority']): (request: HttpRequest, exchange: Exchange) => Level {
  if (config === undefined) {
    const only: Level = { name: onlyLevel, share: 1 };
    return () => only;
  }
  const field = config.header.toLowerCase();
  const byName = new Map(Object.entries(config.levels).map(([name, share]) => [name, { name, share }]));
  const fallback = byName.get(config.default)!;
  return ({ headers }, { priority, isCallerTrusted }) => {
    const named = priority ?? (isCallerTrusted ? headers.get(field) : undefined);
    return (named === undefined ? undefined : byName.get(named)) ?? fallback;
  };
}
