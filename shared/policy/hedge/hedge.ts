import type { Clock } from '../../clock/clock.js';
import { TimeoutHeap, type HeapEntry } from '../../clock/timeout-heap.js';
import type { HedgeConfig } from '../../config/resilience.js';
import { neverLeft, type Outcome } from '../../errors/retry-conditions.js';
import { Cancellation } from '../../http/cancellation.js';
import { Discard } from '../../http/discard.js';
import type { Exchange } from '../../http/exchange.js';
import { attemptNumber } from '../../http/mesh-fields.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Layer, Service } from '../../http/service.js';
import { RollingQuantile } from './rolling-quantile.js';

/**
 * `won`: a hedge's answer was used. `lost`: a hedge was sent, and the first attempt's was. `budget_exhausted`: none was sent, for want of budget.
 * `turned_away`: this proxy had no place for it, or no endpoint.
 */
export type HedgeEvent = 'won' | 'lost' | 'budget_exhausted' | 'turned_away';

export interface HedgeDependencies {
  readonly clock: Clock;
  /** Shared with the retries to the same upstream. */
  readonly budget: { deposit(): void; withdraw(): boolean; giveBack(): void };
  /** Nobody else counts requests for the budget. Those that a proxy in front sent again do not count. */
  readonly deposits: boolean;
  /** Failures that are no answer while another attempt is under way. */
  readonly isFailure: (outcome: Outcome) => boolean;
  /** Whether there is an endpoint that the request was not sent to yet. */
  readonly hasAnother: (exchange: Exchange) => boolean;
  readonly onEvent?: (event: HedgeEvent) => void;
}

/** When a further attempt is made: after a fixed time, or after the percentile of recent latency, once that is known. */
export class HedgeDelay {
  readonly #quantile: RollingQuantile | undefined;

  constructor(private readonly config: HedgeConfig) {
    this.#quantile = config.percentile === undefined ? undefined : new RollingQuantile(config.percentile / 100);
  }

  /** In milliseconds. */
  get current(): number | undefined {
    const value = this.#quantile === undefined ? this.config.delay : this.#quantile.value;
    return value === undefined ? undefined : this.#quantile === undefined ? value : Math.max(value, this.config.minDelay);
  }

  observe(ms: number, now: number): void {
    this.#quantile?.observe(ms, now);
  }
}

/**
 * Hedged requests (Dean and Barroso, The Tail at Scale, 2013): when the answer takes unusually long, the request is
 * also sent to another endpoint, and the first answer that is not a retryable failure wins.
 *
 * The loser is cancelled at once: its connection is closed, and since nobody waited for it any more it counts
 * against no endpoint, but that a balancer by latency knows it to take at least that long. For the percentile it counts as having taken as long as it was waited for: were it left
 * out, only fast answers would be seen, and the percentile would sink with each hedge. Hedges come out of the retry budget; one
 * that this proxy turns away itself is given back.
 * A hedge stands in no line for a connection: what it would get there is, most likely, the one that its first attempt has just been answered on.
 * Only requests whose body is whole in memory are hedged, and none that a proxy in front sent again already.
 */
export function hedge(config: HedgeConfig, delay: HedgeDelay, dependencies: HedgeDependencies): Layer {
  const methods = new Set(config.methods);
  const shared: Shared = { ...dependencies, delay, heap: new TimeoutHeap(dependencies.clock), discard: new Discard(dependencies.clock), maxAttempts: config.maxAttempts };
  return (next) =>
    function hedge(request, exchange) {
      if (dependencies.deposits && attemptNumber(request.headers) === 1) dependencies.budget.deposit();
      if (!methods.has(request.method) || request.body.whole === undefined || request.upgrade !== undefined || attemptNumber(request.headers) > 1) return next(request, exchange);
      return new Promise((resolve, reject) => new Race(shared, next, request, exchange, resolve, reject).begin());
    };
}

interface Shared extends HedgeDependencies {
  readonly delay: HedgeDelay;
  readonly heap: TimeoutHeap;
  readonly discard: Discard;
  readonly maxAttempts: number;
}

const superseded = new Error('another attempt was answered first');

class Attempt extends Cancellation {
  /** Where it went. */
  endpoint: string | undefined;

  constructor(
    readonly isHedge: boolean,
    readonly startedAt: number,
  ) {
    super();
  }
}

/** The attempts at one request. */
class Race implements HeapEntry {
  heapIndex = -1;
  expiresAt = 0;
  #running: Attempt[] = [];
  #made = 0;
  #turnedAway = 0;
  #isOver = false;

  constructor(
    private readonly shared: Shared,
    private readonly next: Service,
    private readonly request: HttpRequest,
    private readonly exchange: Exchange,
    private readonly resolve: (response: HttpResponse) => void,
    private readonly reject: (reason: unknown) => void,
  ) {}

  begin(): void {
    const { shared, request, exchange } = this;
    const now = shared.clock.now();
    const attempt = new Attempt(this.#made++ > 0, now);
    this.#running.push(attempt);
    request.cancellation.subscribe(attempt);
    const delay = shared.delay.current;
    if (delay !== undefined && this.#made < shared.maxAttempts && !request.cancellation.isCancelled) {
      this.expiresAt = now + delay;
      shared.heap.add(this);
    }
    this.next({ ...request, headers: request.headers.clone(), isHedge: attempt.isHedge, cancellation: attempt }, exchange).then(
      (response) => this.#ended(attempt, { response }),
      (error: unknown) => this.#ended(attempt, { error }),
    );
    attempt.endpoint = exchange.tried.at(-1);
  }

  /** The answer takes long. */
  onExpire(): void {
    const { budget, hasAnother, onEvent } = this.shared;
    if (!hasAnother(this.exchange)) return;
    if (budget.withdraw()) this.begin();
    else onEvent?.('budget_exhausted');
  }

  #ended(attempt: Attempt, outcome: Outcome): void {
    const { shared } = this;
    const { response } = outcome;
    if (this.#isOver) {
      // It was answered in the moment in which it lost.
      response?.body.cancel(superseded);
      return;
    }
    this.#running.splice(this.#running.indexOf(attempt), 1);
    const now = shared.clock.now();
    const isFailure = response === undefined || shared.isFailure(outcome);
    if (!isFailure) shared.delay.observe(now - attempt.startedAt, now);
    if (attempt.isHedge && neverLeft(outcome)) {
      this.#turnedAway++;
      shared.budget.giveBack();
      shared.onEvent?.('turned_away');
    }
    if (isFailure && this.#running.length > 0) {
      // The other may still succeed.
      this.request.cancellation.unsubscribe(attempt);
      if (response !== undefined) shared.discard.discard(response.body);
      return;
    }
    this.#isOver = true;
    shared.heap.remove(this);
    for (const loser of this.#running) this.#stop(loser, now);
    if (this.#made - this.#turnedAway > 1) shared.onEvent?.(attempt.isHedge && !isFailure ? 'won' : 'lost');
    this.exchange.endpoint = attempt.endpoint ?? this.exchange.endpoint;
    if (response === undefined) this.reject(outcome.error);
    else this.resolve(response);
  }

  #stop(loser: Attempt, now: number): void {
    this.request.cancellation.unsubscribe(loser);
    if (!loser.isHedge) this.shared.delay.observe(now - loser.startedAt, now);
    loser.cancel(superseded);
  }
}
