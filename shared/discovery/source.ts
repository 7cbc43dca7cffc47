import type { EndpointConfig } from '../config/endpoints.js';

/** Why a look-up found nothing, as words for the metrics. */
export const discoveryFailures = ['not_found', 'no_data', 'server_failure', 'timeout', 'unreadable', 'invalid'] as const;

/** Why nothing was found; and what happened, for the log. */
export interface DiscoveryFailure {
  readonly result: (typeof discoveryFailures)[number];
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
