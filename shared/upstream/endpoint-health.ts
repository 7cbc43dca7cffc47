/** Why no requests should be sent to an endpoint, beside what its breaker says. */
export type UnhealthyReason = 'probe' | 'outlier';

/**
 * What watches an endpoint from outside says here; the balancer asks here. Several watchers may object, each for
 * its own reason: the endpoint is healthy while nobody does.
 */
export class EndpointHealth {
  readonly #reasons = new Set<UnhealthyReason>();
  #isHealthy = true;

  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  get reasons(): readonly UnhealthyReason[] {
    return [...this.#reasons];
  }

  object(reason: UnhealthyReason): void {
    this.#reasons.add(reason);
    this.#isHealthy = false;
  }

  withdraw(reason: UnhealthyReason): void {
    this.#reasons.delete(reason);
    this.#isHealthy = this.#reasons.size === 0;
  }
}
