import type { Body } from './body.js';
import type { Cancellation } from './cancellation.js';
import type { Headers } from './headers.js';
import type { TunnelEnd } from './tunnel.js';

/** A request on its way through the layers. A layer that changes one makes a copy (`{ ...request, … }`). */
export interface HttpRequest {
  /** Upper-case token. */
  readonly method: string;
  /** Path and query in origin form, as they go upstream: already normalised. */
  readonly target: string;
  /** The normalised path alone, which routes are matched against. */
  readonly path: string;
  /** Host and optional port the client asked for, lower-case: the `Host` field or an absolute target. */
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  readonly headers: Headers;
  readonly body: Body;
  /** The protocol that the client asks to switch to, lower-case, if its listener lets it (RFC 9110 section 7.8). */
  readonly upgrade?: string | undefined;
  /** Set where it is no HTTP request but a connection to be made: the answer's tunnel is its other side. */
  readonly stream?: StreamRequest | undefined;
  /** It is to save time beside an attempt that is under way, so it stands in no line for a connection: without a place at once it is turned away. */
  readonly isHedge?: boolean | undefined;
  /** Cancelled when nobody waits for the answer any more, or an enclosing timeout struck. */
  readonly cancellation: Cancellation;
}

/** What is asked of a connection that is passed on as it is. */
interface StreamRequest {
  /** Bytes that go to the endpoint before all others, and before TLS. */
  readonly preamble: Buffer | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
  /** With 101: the upstream's side of the connection that has switched. */
  readonly tunnel?: TunnelEnd | undefined;
}

/** Whether a failed request may be sent again without asking anyone (RFC 9110 section 9.2.2). */
export function isIdempotent(method: string): boolean {
  return idempotentMethods.has(method);
}

const idempotentMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
