import type { EndpointConfig } from '../../config/endpoints.js';
import type { Subset } from '../../config/balance.js';
import type { Endpoint } from '../endpoint.js';
import type { PeakEwma } from '../peak-ewma.js';
import type { Candidate } from './balancer.js';

/**
 * An endpoint in its part as one of an upstream's: what configuration says of it. What happened to it is the endpoint's
 * own, which goes on when a new version of the configuration gives it another weight, zone or label.
 */
export class Member implements Candidate {
  readonly name: string;
  readonly latency: PeakEwma;
  /** The configured weight, or less while the endpoint warms up. */
  weight: number;

  constructor(
    readonly endpoint: Endpoint,
    readonly config: EndpointConfig,
  ) {
    this.name = endpoint.name;
    this.latency = endpoint.latency;
    this.weight = config.weight;
  }

  get inFlight(): number {
    return this.endpoint.inFlight;
  }

  belongsTo(subset: Subset): boolean {
    return Object.entries(subset).every(([label, value]) => this.config.labels[label] === value);
  }
}
