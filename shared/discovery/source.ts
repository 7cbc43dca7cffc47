import type { EndpointConfig } from '../config/endpoints.js';

/** Why nothing was found, as a word for the metrics; and what happened, for the log. */
export interface DiscoveryFailure {
  readonly result: 'not_found' | 'no_data' | 'server_failure' | 'timeout' | 'unreadable' | 'invalid';
  readonly details: readonly string[];
}

export interface DiscoveryListener {
  /** The endpoints as they are now. */
  found(endpoints: readonly EndpointConfig[]): void;
  /** They could not be had; what was found last is still the best that is known. */
  failed(failure: DiscoveryFailure): void;
  /** Parts of what was found that cannot be used. */
  ignored(details: readonly string[]): void;
}

/** Where endpoints come from. Calls nothing of its listener once it is closed. */
export interface DiscoverySource {
  /** For log and metrics. */
  readonly kind: 'dns' | 'file';
  start(listener: DiscoveryListener): void;
  close(): void;
}
