import CircuitBreaker from 'opossum';
import type { Clock, Timer } from '../../clock/clock.js';
import type { BreakerConfig } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { Cancellation } from '../../http/cancellation.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Layer, Service } from '../../http/service.js';

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface Breaker {
  readonly layer: Layer;
  state(): BreakerState;
  /** Whether a request would be let through: closed, or half-open with a probe to be sent. One that is whole is also sent beside a probe that is not. */
  accepts(isWhole?: boolean): boolean;
  /** Told of an answer that had begun well, and was broken off by the endpoint. */
  brokeOff(exchange: Exchange): void;
  /** Stops the timers. */
  close(): void;
}

interface BreakerDependencies {
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
 * endpoint out: one more is let through, and the first outcome decides. Nor does one whose body is still to come, or clients that upload slowly would keep it out: a
 * request that is whole is let through beside it, and takes its place. A client that left proves nothing and is not counted, and
 * a probe that proved nothing gives its place to the next request.
 *
 * A probe that its request gives up (its client left, a hedge was answered first) goes on without it for as long as that time lasts, if it
 * was whole: its outcome is wanted all the same. Were it broken off, callers that wait less than an endpoint takes would take every probe of it and
 * end none, and an endpoint that hangs would be tried by every request.
 *
 * An answer is judged by its head, since its body may take as long as it likes. One that is broken off after that was a failure all the same, and its
 * success is taken back; if it was the probe's, the breaker opens again.
 *
 * Two things opossum would do otherwise. It decides on failures per request begun, so that what is still under way, or was broken
 * off by its client, would count as a success: here the share is that of the outcomes. And it takes any outcome for the probe's
 * while it is half-open: here the outcome of a request that began before the last change of state is nobody's any more. So
 * opossum never hears of a probe, only of what came of it.
 */
export function breaker(config: BreakerConfig, { clock, name, onTransition, isFailure = isServerError }: BreakerDependencies): Breaker {
  const circuit = new CircuitBreaker((outcome: Promise<unknown>) => outcome, {
    name,
    timeout: false,
    // Never by itself: the decision is below.
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
  /** The last one sent, until it is over or the state changes. */
  let current: Probe | undefined;
  /** The probe that it was closed for, while its answer is still coming. */
  let closedFor: Exchange | undefined;
  /** It is half-open, and no probe is under way that still has time. */
  let isProbeDue = false;
  const forgetProbe = (): void => {
    current?.letGo();
    current = undefined;
    isProbeDue = false;
  };
  for (const change of ['open', 'halfOpen', 'close'] as const) {
    circuit.on(change as 'open', () => {
      changes++;
      closedFor = undefined;
      forgetProbe();
      isProbeDue = change === 'halfOpen';
    });
  }
  circuit.on('failure', () => {
    const { successes, failures, timeouts: takenBack } = circuit.stats;
    const outcomes = Math.max(0, successes - takenBack) + failures;
    if (circuit.closed && outcomes >= config.volumeThreshold && failures * 100 >= config.errorThreshold * outcomes) circuit.open();
  });
  if (onTransition !== undefined) {
    circuit.on('open', () => onTransition('open'));
    circuit.on('halfOpen', () => onTransition('half-open'));
    circuit.on('close', () => onTransition('closed'));
  }
  const retryAfter = String(Math.max(1, Math.ceil(config.resetTimeout / 1_000)));
  const refusal = (): ProxyError => new ProxyError('breaker_open', { fields: { 'Retry-After': retryAfter } });
  const accepts = (isWhole = false): boolean => circuit.closed || isProbeDue || (isWhole && circuit.halfOpen && current?.isWhole === false);
  /** Of a circuit that was shut down nobody would take the rejection, and that ends a process. */
  const fireFailure = (): Promise<void> => (isClosed ? Promise.resolve() : circuit.fire(Promise.reject(failure)).then(nothing, nothing));

  const forgetClosedFor = (over: Exchange): void => {
    if (closedFor === over) closedFor = undefined;
  };

  /** The one request that finds out. */
  function probe(next: Service, request: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
    const { cancellation, body } = request;
    // Nobody waits for it any more.
    if (cancellation.reason !== undefined) return Promise.reject(cancellation.reason);
    const since = changes;
    const probe = new Probe(exchange, body.whole !== undefined);
    isProbeDue = false;
    current?.letGo();
    probe.patience = clock.after(config.resetTimeout, () => {
      isProbeDue = true;
      probe.letGo();
    });
    current = probe;
    /** Whether the breaker is closed by it. */
    const settle = (isProof: boolean | undefined): boolean => {
      probe.end();
      if (since !== changes || isClosed) return false;
      if (isProof === true) circuit.close();
      else if (isProof === false) circuit.open();
      else if (current === probe) isProbeDue = true;
      return isProof === true;
    };
    cancellation.subscribe(probe);
    return probe.run(() =>
      next({ ...request, cancellation: probe }, exchange).then(
        (response) => {
          const isClosedByIt = settle(!isFailure(response));
          if (isClosedByIt && response.body.whole === undefined && !probe.isGivenUp) {
            closedFor = exchange;
            exchange.onFinish(forgetClosedFor);
          }
          return response;
        },
        (error: unknown) => {
          settle(error instanceof ProxyError && error.blamesUpstream ? false : undefined);
          throw error;
        },
      ),
    );
  }

  return {
    layer: (next) =>
      function breaker(request, exchange) {
        // The last requests of a retired configuration go through unguarded rather than not at all.
        if (isClosed) return next(request, exchange);
        if (!accepts(request.body.whole !== undefined)) return Promise.reject(refusal());
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
    brokeOff: (exchange) => {
      if (isClosed || !circuit.closed) return;
      if (exchange === closedFor) {
        circuit.open();
        return;
      }
      // A rolling count like the others, and of no other use: opossum times nothing here.
      circuit.emit('timeout', failure, 0);
      void fireFailure();
    },
    close: () => {
      isClosed = true;
      forgetProbe();
      circuit.shutdown();
    },
  };
}

const isServerError = ({ status }: HttpResponse): boolean => status >= 500;

/** The attempt that a probe is. It is cancelled with its request, or goes on without it while there is time to find out. */
class Probe extends Cancellation {
  patience: Timer | undefined;
  #mayGoOn: boolean;
  #isOver = false;
  #givenUpFor: Error | undefined;
  #giveUp: ((reason: Error) => void) | undefined;
  #respondedAt: number | undefined;

  constructor(
    private readonly exchange: Exchange,
    readonly isWhole: boolean,
  ) {
    super();
    this.#mayGoOn = isWhole;
  }

  /** Rejects at once when the request is given up; an answer that comes after that is nobody's. */
  run(attempt: () => Promise<HttpResponse>): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      this.#giveUp = reject;
      attempt().then((response) => {
        if (this.#givenUpFor === undefined) {
          resolve(response);
          return;
        }
        response.tunnel?.destroy();
        response.body.cancel(this.#givenUpFor);
      }, reject);
    });
  }

  get isGivenUp(): boolean {
    return this.#givenUpFor !== undefined;
  }

  override cancel(reason: Error): void {
    if (!this.#mayGoOn) {
      super.cancel(reason);
      return;
    }
    this.#givenUpFor = reason;
    // Its client's connection may carry another exchange by the time that this is answered.
    this.exchange.inform = undefined;
    this.#respondedAt = this.exchange.respondedAt;
    this.#giveUp?.(reason);
  }

  /** Its outcome is waited for no longer than its request is. */
  letGo(): void {
    this.patience?.cancel();
    this.#mayGoOn = false;
    if (this.#givenUpFor !== undefined && !this.#isOver) super.cancel(this.#givenUpFor);
  }

  /** There is an outcome. */
  end(): void {
    this.patience?.cancel();
    this.#mayGoOn = false;
    this.#isOver = true;
    if (this.#givenUpFor !== undefined) this.exchange.respondedAt = this.#respondedAt;
  }
}

/** opossum knows failures as rejections only; the real outcome goes past it. */
const failure = new Error('the attempt failed');
const nothing = (): void => {};
