import CircuitBreaker from 'opossum';
import type { BreakerConfig } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { HttpResponse } from '../../http/message.js';
import type { Layer } from '../../http/service.js';

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface Breaker {
  readonly layer: Layer;
  state(): BreakerState;
  /** Whether a request would be let through: closed, or half-open with the probe still to be sent. */
  accepts(): boolean;
  /** Stops the timers. */
  close(): void;
}

export interface BreakerDependencies {
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
 * upstream, and answers of 500 and above. At `errorThreshold` percent, of at least `volumeThreshold` requests, it
 * opens and refuses with `breaker_open`. After `resetTimeout` it is half-open: one request goes through as a
 * probe, whose outcome closes or reopens it. A client that left proves nothing and is not counted.
 */
export function breaker(config: BreakerConfig, { name, onTransition, isFailure = isServerError }: BreakerDependencies): Breaker {
  const circuit = new CircuitBreaker((send: () => Promise<HttpResponse>) => attempt(send), {
    name,
    timeout: false,
    // opossum opens above its threshold, we open at it.
    errorThresholdPercentage: config.errorThreshold - 1e-6,
    volumeThreshold: config.volumeThreshold,
    rollingCountTimeout: config.window,
    rollingCountBuckets: 10,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    resetTimeout: config.resetTimeout,
  });
  async function attempt(send: () => Promise<HttpResponse>): Promise<HttpResponse | Uncounted> {
    let response: HttpResponse;
    try {
      response = await send();
    } catch (error) {
      const isBlamed = error instanceof ProxyError && error.entry.blamesUpstream;
      // A probe that proved nothing must not close the breaker: it fails, and another will be sent.
      if (isBlamed || circuit.halfOpen) throw error;
      return new Uncounted(error);
    }
    if (isFailure(response)) throw new FailedResponse(response);
    return response;
  }
  let isClosed = false;
  if (onTransition !== undefined) {
    circuit.on('open', () => onTransition('open'));
    circuit.on('halfOpen', () => onTransition('half-open'));
    circuit.on('close', () => onTransition('closed'));
  }
  const retryAfter = String(Math.max(1, Math.ceil(config.resetTimeout / 1_000)));
  const refusal = (): ProxyError => new ProxyError('breaker_open', { fields: { 'Retry-After': retryAfter } });
  const accepts = (): boolean => circuit.closed || circuit.pendingClose;

  return {
    layer: (next) =>
      async function breaker(request, exchange) {
        // The last requests of a retired configuration go through unguarded rather than not at all.
        if (isClosed) return next(request, exchange);
        if (!accepts()) throw refusal();
        try {
          const outcome = await circuit.fire(() => next(request, exchange));
          if (outcome instanceof Uncounted) throw outcome.error;
          return outcome;
        } catch (error) {
          if (error instanceof FailedResponse) return error.response;
          if (isOpossumRefusal(error)) throw refusal();
          throw error;
        }
      },
    state: () => (circuit.closed ? 'closed' : circuit.halfOpen ? 'half-open' : 'open'),
    accepts,
    close: () => {
      isClosed = true;
      circuit.shutdown();
    },
  };
}

const isServerError = ({ status }: HttpResponse): boolean => status >= 500;

/** Carries an answer that counts as a failure past opossum, which knows failures as rejections only. */
class FailedResponse extends Error {
  constructor(readonly response: HttpResponse) {
    super('the upstream answered with a server error');
  }
}

/** Carries an error that is nobody's failure past opossum, which would count it. */
class Uncounted {
  constructor(readonly error: unknown) {}
}

function isOpossumRefusal(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === 'EOPENBREAKER' || code === 'ESHUTDOWN';
}
