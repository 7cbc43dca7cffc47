import type { Clock, Timer } from '../../clock/clock.js';
import type { HealthCheckConfig } from '../../config/health.js';
import type { EndpointHealth } from '../endpoint-health.js';
import type { Probe, ProbeFailure, StartProbe } from './probe.js';

interface HealthCheckDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly probe: StartProbe;
  readonly onResult?: (failure: ProbeFailure | undefined) => void;
  /** Hears when the endpoint is left out, with the last failure, and when it is used again. */
  readonly onChange?: (isHealthy: boolean, failure: ProbeFailure | undefined) => void;
}

/**
 * Asks one endpoint again and again whether it is well, and objects to it while it is not.
 *
 * `unhealthyThreshold` failures in a row take it out, `healthyThreshold` successes in a row bring it back; an endpoint that
 * starts as unhealthy needs one success only, as in Envoy. The pause is counted from the end of a check, so there is never
 * more than one.
 */
export class HealthCheck {
  #streak = 0;
  #isHealthy: boolean;
  #hasPassed = false;
  #timer: Timer | undefined;
  #limit: Timer | undefined;
  #probe: Probe | undefined;
  #closed = false;

  constructor(
    private readonly config: HealthCheckConfig,
    private readonly health: EndpointHealth,
    private readonly dependencies: HealthCheckDependencies,
  ) {
    this.#isHealthy = config.initial === 'healthy';
    if (!this.#isHealthy) health.object('probe');
  }

  /** Checks now, and from then on. */
  start(): void {
    if (this.#closed) return;
    const { clock, probe } = this.dependencies;
    this.#limit = clock.after(this.config.timeout, () => {
      this.#probe?.cancel();
      this.#settle({ kind: 'timeout', detail: `no answer within ${this.config.timeout} ms` });
    });
    this.#probe = probe((failure) => this.#settle(failure));
  }

  /** Ends the checks. What they found stays in force. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#limit?.cancel();
    this.#probe?.cancel();
  }

  #settle(failure: ProbeFailure | undefined): void {
    if (this.#closed) return;
    this.#limit?.cancel();
    this.#probe = undefined;
    this.dependencies.onResult?.(failure);
    if (failure?.kind !== 'resources') this.#count(failure);
    const { interval, unhealthyInterval, jitter } = this.config;
    const pause = this.#isHealthy ? interval : (unhealthyInterval ?? interval);
    this.#timer = this.dependencies.clock.after(pause * (1 + jitter * (2 * this.dependencies.random() - 1)), () => this.start());
  }

  /** `#streak` counts results in a row that contradict the present state. */
  #count(failure: ProbeFailure | undefined): void {
    const passed = failure === undefined;
    const isFirstPass = passed && !this.#hasPassed;
    this.#hasPassed ||= passed;
    if (passed === this.#isHealthy) {
      this.#streak = 0;
      return;
    }
    const { healthyThreshold, unhealthyThreshold, initial } = this.config;
    const needed = !passed ? unhealthyThreshold : isFirstPass && initial === 'unhealthy' ? 1 : healthyThreshold;
    if (++this.#streak < needed) return;
    this.#streak = 0;
    this.#isHealthy = passed;
    if (passed) this.health.withdraw('probe');
    else this.health.object('probe');
    this.dependencies.onChange?.(passed, failure);
  }
}
