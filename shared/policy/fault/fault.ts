import type { Clock } from '../../clock/clock.js';
import { TimeoutQueue, type Expirable } from '../../clock/timeout-queue.js';
import type { FaultConfig } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Cancellable, Cancellation } from '../../http/cancellation.js';
import type { Layer } from '../../http/service.js';
import { allHold, conditionsOf } from '../../routing/conditions.js';

/** `suppressed`: a request was to be held, but as many are held as may be. */
export type FaultEvent = 'delay' | 'abort' | 'suppressed';

interface FaultDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly onEvent?: (event: FaultEvent) => void;
}

/**
 * Breaks a share of the requests on purpose, so that it can be seen what their callers make of it: holds them for a
 * while, answers them with `fault_injected`, or first the one and then the other, drawn independently as Envoy does.
 *
 * A request whose client leaves is let go at once. One that was held carries the flag DI in the access log, one that was aborted FI.
 */
export function fault(config: FaultConfig, { clock, random, onEvent }: FaultDependencies): Layer {
  const { delay, abort, maxActive } = config;
  const conditions = conditionsOf(config);
  const queue = delay && new TimeoutQueue(clock, delay.fixed);
  let held = 0;
  const strikes = (percent: number): boolean => percent > 0 && (percent === 100 || random() * 100 < percent);

  async function hold(cancellation: Cancellation): Promise<void> {
    held++;
    try {
      await new Promise<void>((resolve, reject) => new Held(queue!, cancellation, resolve, reject));
    } finally {
      held--;
    }
  }

  return (next) =>
    async function fault(request, exchange) {
      if (!allHold(conditions, request)) return next(request, exchange);
      if (delay !== undefined && strikes(delay.percent)) {
        if (held >= maxActive) {
          onEvent?.('suppressed');
          return next(request, exchange);
        }
        onEvent?.('delay');
        exchange.flags = 'DI';
        await hold(request.cancellation);
      }
      if (abort !== undefined && strikes(abort.percent)) {
        onEvent?.('abort');
        throw new ProxyError('fault_injected', { status: abort.status });
      }
      return next(request, exchange);
    };
}

/** A request that is held, in the queue of those that are. */
class Held implements Expirable, Cancellable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;

  constructor(
    private readonly queue: TimeoutQueue,
    private readonly cancellation: Cancellation,
    private readonly resolve: () => void,
    private readonly reject: (reason: Error) => void,
  ) {
    queue.add(this);
    cancellation.subscribe(this);
  }

  onExpire(): void {
    this.cancellation.unsubscribe(this);
    this.resolve();
  }

  cancel(reason: Error): void {
    this.queue.remove(this);
    this.reject(reason);
  }
}
