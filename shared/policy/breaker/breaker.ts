import CircuitBreaker from 'opossum';
import type { Clock, Timer } from '../../clock/clock.js';
import type { BreakerConfig } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Layer, Service } from '../../http/service.js';

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface Breaker {
  readonly layer: Layer;
  state(): BreakerState;
  /** Whether a request would be let through: closed, or half-open with a probe to be sent. */
  accepts(): boolean;
  /** Stops the timers. */
  close(): void;
}

export interface BreakerDependencies {
  readonly clock: Pick<Clock, 'after'>;
  /** Names the breaker in opossum's events. */
  readonly name: string;
  readonly onTransition?: (state: BreakerState) => void;
  /** Whether an answer counts as a failure; default: statuses of 500 and above. */
  readonly isFailure?: (response: HttpResponse) => boolean;
}

/**
 * A circuit breaker around one endpoint, on opossum.
 *
 * Closed, it lets requests through and counts failures over a rolling window: errors that blame the
 * upstream, and answers of 500 and above. At `errorThreshold` percent, of at least `volumeThreshold` outcomes, it
 * opens and refuses with `breaker_open`. After `resetTimeout` it is half-open: one request goes through as a
 * probe, whose outcome closes or reopens it. A probe that has had no outcome for another `resetTimeout` does not keep the
 * endpoint out: one more is let through, and the first outcome decides. A client that left proves nothing and is not counted.
 *
 * Two things opossum would do otherwise. It decides on failures per request begun, so that what is still under way, or was broken
 * off by its client, would count as a success: here the share is that of the outcomes. And it takes any outcome for the probe's
 * while it is half-open: here the outcome of a request that began before the last change of state is nobody's any more.
 */
export function breaker(config: BreakerConfig, { clock, name, onTransition, isFailure = isServerError }: BreakerDependencies): Breaker {
  const circuit = new CircuitBreaker((outcome: Promise<unknown>) => outcome, {
    name,
    timeout: false,
    // Never by itself: the decision is below. A probe that fails opens it all the same.
    errorThresholdPercentage: 100,
    rollingCountTimeout: config.window,
    rollingCountBuckets: 10,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    resetTimeout: config.resetTimeout,
  });
  let isClosed = false;
  /** Changes of state so far. */
  let changes = 0;
  /** Runs while a probe is under way; when it is over, another one is due. */
  let patience: Timer | undefined;
  let isProbeDue = false;
  const watchProbe = (): void => {
    isProbeDue = false;
    patience = clock.after(config.resetTimeout, () => (isProbeDue = true));
  };
  const forgetProbe = (): void => {
    patience?.cancel();
    isProbeDue = false;
  };
  for (const change of ['open', 'halfOpen', 'close'] as const) {
    circuit.on(change as 'open', () => {
      changes++;
      forgetProbe();
    });
  }
  circuit.on('failure', () => {
    const { successes, failures } = circuit.stats;
    if (circuit.closed && successes + failures >= config.volumeThreshold && failures * 100 >= config.errorThreshold * (successes + failures)) circuit.open();
  });
  if (onTransition !== undefined) {
    circuit.on('open', () => onTransition('open'));
    circuit.on('halfOpen', () => onTransition('half-open'));
    circuit.on('close', () => onTransition('closed'));
  }
  const retryAfter = String(Math.max(1, Math.ceil(config.resetTimeout / 1_000)));
  const refusal = (): ProxyError => new ProxyError('breaker_open', { fields: { 'Retry-After': retryAfter } });
  const accepts = (): boolean => circuit.closed || circuit.pendingClose || isProbeDue;
  const fire = (outcome: Promise<void>): Promise<void> => circuit.fire(outcome).then(nothing, nothing);
  /** Of a circuit that was shut down nobody would take the rejection, and that ends a process. */
  const fireFailure = (): Promise<void> => (isClosed ? Promise.resolve() : fire(Promise.reject(failure)));

  /** The one request that finds out. opossum hears of it at once, and lets no other through; of a further one it would not hear. */
  async function probe(next: Service, request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    const since = changes;
    const isFurther = isProbeDue;
    watchProbe();
    const outcome = new Outcome();
    const told = isFurther ? outcome.promise.then(() => circuit.close(), () => circuit.open()) : fire(outcome.promise);
    let isProof = false;
    try {
      const response = await next(request, exchange);
      isProof = !isFailure(response);
      return response;
    } finally {
      if (since === changes) {
        // One that proved nothing must not close the breaker: it fails, and another will be sent.
        if (isProof) outcome.succeed();
        else outcome.fail(failure);
        await told;
      }
    }
  }

  return {
    layer: (next) =>
      function breaker(request, exchange) {
        // The last requests of a retired configuration go through unguarded rather than not at all.
        if (isClosed) return next(request, exchange);
        if (!accepts()) return Promise.reject(refusal());
        if (!circuit.closed) return probe(next, request, exchange);
        const since = changes;
        return next(request, exchange).then(
          (response) => {
            if (since !== changes) return response;
            if (isFailure(response)) return fireFailure().then(() => response);
            // All that `fire` would come to, at a tenth of the cost: nothing changes by a success while it is closed.
            circuit.emit('success', undefined, 0);
            return response;
          },
          async (error: unknown) => {
            if (since === changes && error instanceof ProxyError && error.blamesUpstream) await fireFailure();
            throw error;
          },
        );
      },
    state: () => (circuit.closed ? 'closed' : circuit.halfOpen ? 'half-open' : 'open'),
    accepts,
    close: () => {
      isClosed = true;
      forgetProbe();
      circuit.shutdown();
    },
  };
}

const isServerError = ({ status }: HttpResponse): boolean => status >= 500;

/** What opossum hears of a probe. One that never settles is counted as nothing, and held by nobody. */
class Outcome {
  succeed!: () => void;
  fail!: (reason: Error) => void;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.succeed = resolve;
    this.fail = reject;
  });
}

/** opossum knows failures as rejections only; the real outcome goes past it. */
const failure = new Error('the attempt failed');
const nothing = (): void => {};
