/** Why no requests should be sent to an endpoint, beside what its breaker says. */
export type UnhealthyReason = 'probe' | 'outlier';

/**
 * What watches an endpoint from outside says here; the balancer asks here. Several watchers may object, each for
 * its own reason: the endpoint is healthy while nobody does.
 */
export class EndpointHealth {
  readonly #reasons = new Set<UnhealthyReason>();
  #isHealthy = true;

  /** `onChange` runs when the endpoint has become healthy or has ceased to be. */
  constructor(private readonly onChange: () => void = () => {}) {}

  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  get reasons(): readonly UnhealthyReason[] {
    return [...this.#reasons];
  }

  object(reason: UnhealthyReason): void {
    this.#reasons.add(reason);
    this.#update();
  }

  withdraw(reason: UnhealthyReason): void {
    this.#reasons.delete(reason);
    this.#update();
  }

  #update(): void {
    const isHealthy = this.#reasons.size === 0;
    if (isHealthy === this.#isHealthy) return;
    this.#isHealthy = isHealthy;
    this.onChange();
  }
}
