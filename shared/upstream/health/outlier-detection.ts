import type { Clock, Timer } from '../../clock/clock.js';
import type { OutlierDetectionConfig } from '../../config/health.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { httpStatusOf } from '../../grpc/status.js';
import type { HttpResponse } from '../../http/message.js';
import type { Layer } from '../../http/service.js';
import type { EndpointHealth } from '../endpoint-health.js';

export type EjectionReason = 'consecutive_5xx' | 'consecutive_gateway_errors' | 'consecutive_errors' | 'success_rate';

/** `refused`: it would have been ejected, were not as many out as may be. */
export type OutlierEvent =
  | { readonly kind: 'ejected' | 'refused'; readonly endpoint: string; readonly reason: EjectionReason; readonly forMs: number }
  | { readonly kind: 'returned'; readonly endpoint: string };

interface OutlierDetectionDependencies {
  readonly clock: Clock;
  /** Whether its endpoints may speak gRPC: its failures are judged by what they come to as statuses of HTTP. Default: false. */
  readonly isGrpc?: boolean;
  readonly onEvent?: (event: OutlierEvent) => void;
}

interface Outlier {
  /** Counts each attempt at the endpoint. */
  readonly layer: Layer;
  /** Told of an answer that had begun well, and was broken off by the endpoint. */
  brokeOff(): void;
  close(): void;
}

/** What is counted of one endpoint. */
interface Member {
  readonly name: string;
  readonly health: EndpointHealth;
  fives: number;
  gatewayErrors: number;
  errors: number;
  /** Of this interval. */
  requests: number;
  successes: number;
  ejectedUntil: number | undefined;
  /** How often it was ejected lately: each ejection adds one, each interval in use takes one. */
  ejections: number;
}

/**
 * Leaves out endpoints of one upstream that fail where others do not, as Envoy's outlier detection does.
 *
 * Failures in a row eject at once. At each interval the success rates of endpoints with enough requests are compared: one
 * below mean - factor × standard deviation is ejected. Ejected it stays for the base time × its ejections, at most the maximum, and
 * comes back at the interval after that. At most `maxEjectedPercent` are out, yet one may always be: a limit that rounds to zero would
 * switch the detection off for small upstreams. Clients that leave, and refusals of our own, are nobody's failure.
 */
export class OutlierDetection {
  readonly #members = new Set<Member>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(
    private readonly config: OutlierDetectionConfig,
    private readonly dependencies: OutlierDetectionDependencies,
  ) {}

  get ejected(): number {
    let count = 0;
    for (const member of this.#members) if (member.ejectedUntil !== undefined) count++;
    return count;
  }

  watch(name: string, health: EndpointHealth): Outlier {
    const member: Member = { name, health, fives: 0, gatewayErrors: 0, errors: 0, requests: 0, successes: 0, ejectedUntil: undefined, ejections: 0 };
    this.#members.add(member);
    if (!this.#closed) this.#timer ??= this.dependencies.clock.after(this.config.interval, this.#tick);
    // Made once: an attempt costs two calls and no closure.
    const statusOf = this.dependencies.isGrpc === true ? httpStatusOf : ({ status }: HttpResponse) => status;
    const responded = (response: HttpResponse): HttpResponse => {
      const status = statusOf(response);
      if (status < 500) this.#succeeded(member);
      else this.#failed(member, status >= 502 && status <= 504, false);
      return response;
    };
    const failed = (error: unknown): never => {
      if (error instanceof ProxyError && error.blamesUpstream) this.#failed(member, true, true);
      throw error;
    };
    return {
      layer: (next) =>
        function outlierDetection(request, exchange) {
          return next(request, exchange).then(responded, failed);
        },
      // No success after all. What is counted in a row knows the heads alone: whose answers came meanwhile, nobody can tell.
      brokeOff: () => {
        if (member.successes > 0) member.successes--;
      },
      close: () => {
        this.#members.delete(member);
        if (this.#members.size === 0) this.#disarm();
      },
    };
  }

  close(): void {
    this.#closed = true;
    this.#disarm();
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #succeeded(member: Member): void {
    member.requests++;
    member.successes++;
    member.fives = 0;
    member.gatewayErrors = 0;
    member.errors = 0;
  }

  #failed(member: Member, isGatewayError: boolean, isError: boolean): void {
    member.requests++;
    // What was under way when it was ejected says nothing new, nor what is of one that is gone.
    if (member.ejectedUntil !== undefined || !this.#members.has(member)) return;
    const { consecutive5xx, consecutiveGatewayErrors, consecutiveErrors } = this.config;
    member.fives++;
    member.gatewayErrors = isGatewayError ? member.gatewayErrors + 1 : 0;
    member.errors = isError ? member.errors + 1 : 0;
    // A threshold of 0 is met by none of these, which begin at 1.
    if (member.fives === consecutive5xx) this.#eject(member, 'consecutive_5xx');
    else if (isGatewayError && member.gatewayErrors === consecutiveGatewayErrors) this.#eject(member, 'consecutive_gateway_errors');
    else if (isError && member.errors === consecutiveErrors) this.#eject(member, 'consecutive_errors');
  }

  #eject(member: Member, reason: EjectionReason): void {
    const { baseEjectionTime, maxEjectionTime, maxEjectedPercent } = this.config;
    forget(member);
    const forMs = Math.min(maxEjectionTime, baseEjectionTime * (member.ejections + 1));
    const allowed = Math.max(1, Math.floor((this.#members.size * maxEjectedPercent) / 100));
    if (this.ejected >= allowed) {
      this.dependencies.onEvent?.({ kind: 'refused', endpoint: member.name, reason, forMs });
      return;
    }
    // Beyond the cap of its time there is nothing to grow into, and it must not take for ever to shrink.
    if (baseEjectionTime * member.ejections < maxEjectionTime) member.ejections++;
    member.ejectedUntil = this.dependencies.clock.now() + forMs;
    member.health.object('outlier');
    this.dependencies.onEvent?.({ kind: 'ejected', endpoint: member.name, reason, forMs });
  }

  readonly #tick = (): void => {
    this.#timer = this.dependencies.clock.after(this.config.interval, this.#tick);
    const now = this.dependencies.clock.now();
    for (const member of this.#members) {
      if (member.ejectedUntil === undefined) {
        if (member.ejections > 0) member.ejections--;
      } else if (member.ejectedUntil <= now) {
        member.ejectedUntil = undefined;
        forget(member);
        member.health.withdraw('outlier');
        this.dependencies.onEvent?.({ kind: 'returned', endpoint: member.name });
      }
    }
    this.#compare();
    for (const member of this.#members) {
      member.requests = 0;
      member.successes = 0;
    }
  };

  #compare(): void {
    const { successRate } = this.config;
    if (successRate === undefined) return;
    const compared = [...this.#members].filter(({ requests, ejectedUntil }) => ejectedUntil === undefined && requests >= successRate.minRequests);
    if (compared.length < successRate.minHosts) return;
    const rates = compared.map(({ requests, successes }) => successes / requests);
    const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
    const deviation = Math.sqrt(rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length);
    const least = mean - successRate.factor * deviation;
    // The worst first: the limit may not leave room for all.
    const worst = compared.map((member, index) => ({ member, rate: rates[index]! })).filter(({ rate }) => rate < least);
    for (const { member } of worst.sort((a, b) => a.rate - b.rate)) this.#eject(member, 'success_rate');
  }
}

function forget(member: Member): void {
  member.fives = 0;
  member.gatewayErrors = 0;
  member.errors = 0;
}
