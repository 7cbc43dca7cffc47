/**
 * Every error that a proxy answers with, or notes in its log, by its stable code.
 *
 * `status` is what the client gets; `flag` is the response flag of the access log in Envoy's
 * vocabulary; `retryable` says that the same request may succeed elsewhere or a moment later;
 * `blamesUpstream` says that it counts against the endpoint's breaker; `detail` is the sentence that
 * the client reads, and names no address, path or internal.
 */
export interface ErrorEntry {
  readonly status: number;
  readonly flag: string;
  readonly retryable: boolean;
  readonly blamesUpstream: boolean;
  readonly detail: string;
}

const client = { retryable: false, blamesUpstream: false };
const upstream = { retryable: true, blamesUpstream: true };
const local = { retryable: true, blamesUpstream: false };

export const catalogue = {
  bad_request: { ...client, status: 400, flag: 'DPE', detail: 'The request is not valid HTTP.' },
  request_timeout: { ...client, status: 408, flag: 'DT', detail: 'The request did not arrive in time.' },
  body_too_large: { ...client, status: 413, flag: 'DPE', detail: 'The request body is larger than this proxy accepts.' },
  target_too_long: { ...client, status: 414, flag: 'DPE', detail: 'The request target is longer than this proxy accepts.' },
  expectation_failed: { ...client, status: 417, flag: 'DPE', detail: 'The expectation in the request is not supported.' },
  head_too_large: { ...client, status: 431, flag: 'DPE', detail: 'The request head is larger than this proxy or the upstream accepts.' },
  method_refused: { ...client, status: 405, flag: 'DPE', detail: 'This proxy does not forward that method.' },
  version_unsupported: { ...client, status: 505, flag: 'DPE', detail: 'Only HTTP/1.0 and HTTP/1.1 are spoken here.' },
  client_stalled: { ...client, status: 499, flag: 'DT', detail: 'The client did not take the answer in time.' },
  client_closed: { ...client, status: 499, flag: 'DC', detail: 'The client left before the answer was complete.' },

  idle_timeout: { ...client, status: 408, flag: 'SI', detail: 'Nothing passed on the connection for as long as it may be silent.' },
  shut_down: { ...local, status: 503, flag: 'LR', detail: 'This proxy ended, and the connection with it.' },

  loop_detected: { ...client, status: 508, flag: 'LR', detail: 'The request had been through this proxy before.' },
  mtls_required: { ...client, status: 403, flag: 'UAEX', detail: 'Callers must prove who they are by mutual TLS.' },
  no_route: { ...client, status: 404, flag: 'NR', detail: 'No route matches the request.' },
  token_missing: { ...client, status: 401, flag: 'UAEX', detail: 'A bearer token is required.' },
  token_invalid: { ...client, status: 401, flag: 'UAEX', detail: 'The bearer token is not valid here.' },
  token_expired: { ...client, status: 401, flag: 'UAEX', detail: 'The bearer token has expired.' },
  scope_missing: { ...client, status: 403, flag: 'UAEX', detail: 'The token does not grant the scope that this route requires.' },
  access_denied: { ...client, status: 403, flag: 'UAEX', detail: 'The caller may not do this.' },
  keys_unavailable: { ...local, status: 503, flag: 'UAEX', detail: 'Tokens cannot be verified at the moment.' },
  rate_limited: { ...client, status: 429, flag: 'RL', detail: 'The quota is used up; see Retry-After.' },
  rate_limit_unavailable: { ...local, status: 503, flag: 'RLSE', detail: 'Quotas cannot be checked at the moment.' },
  overloaded: { ...local, status: 503, flag: 'OM', detail: 'This proxy has as many requests in flight as it accepts.' },

  fault_injected: { ...local, status: 503, flag: 'FI', detail: 'The request was made to fail on purpose.' },

  no_endpoint: { ...local, status: 503, flag: 'UH', detail: 'The upstream has no endpoint that can take the request.' },
  breaker_open: { ...local, status: 503, flag: 'UO', detail: 'The upstream failed too often and is being spared.' },
  upstream_queue_full: { ...local, status: 503, flag: 'UO', detail: 'Too many requests wait for a connection to the upstream, or this one waited for as long as an attempt may take.' },
  upstream_overloaded: { ...local, status: 503, flag: 'UO', detail: 'The upstream has as many requests in progress as it is given.' },
  resources_exhausted: { ...local, status: 503, flag: 'OM', detail: 'This proxy has no descriptors or memory left for another connection to the upstream.' },
  upstream_connect_failed: { ...upstream, status: 503, flag: 'UF', detail: 'No connection to the upstream could be made.' },
  upstream_tls_failed: { ...upstream, status: 502, flag: 'UF', detail: 'The upstream could not be verified, or speaks no TLS that is acceptable.' },
  upstream_refused: { ...upstream, status: 503, flag: 'UR', detail: 'The upstream refused the request before it processed any of it.' },
  upstream_reset: { ...upstream, status: 502, flag: 'UC', detail: 'The upstream closed the connection before it answered.' },
  upstream_protocol: { ...upstream, status: 502, flag: 'UPE', detail: 'The upstream sent something that is not valid HTTP.' },
  upstream_truncated: { ...upstream, status: 502, flag: 'UC', detail: 'The upstream broke its answer off.' },
  upstream_timeout: { ...upstream, status: 504, flag: 'UT', detail: 'The upstream did not answer in time.' },
  deadline_exceeded: { ...local, status: 504, flag: 'UT', detail: 'The time allowed for this request is used up.' },
  internal: { ...client, status: 500, flag: 'LR', detail: 'The proxy failed to handle the request.' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof catalogue;

/** The entry of a code, with the common type instead of its literal one. */
export function describe(code: ErrorCode): ErrorEntry {
  return catalogue[code];
}
