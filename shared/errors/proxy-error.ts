import { describe, type ErrorCode, type ErrorEntry } from './catalogue.js';

interface ProxyErrorOptions {
  /** What happened underneath, for the log; never shown to a client. */
  readonly cause?: unknown;
  /** Fields for the answer, such as `WWW-Authenticate` or `Retry-After`. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Instead of the catalogue's status, where configuration says which. */
  readonly status?: number;
  /** Instead of what the catalogue says, where it depends on more than the code. */
  readonly blamesUpstream?: boolean;
}

/** The one kind of error that layers throw; anything else that is thrown is a defect (`internal`). */
export class ProxyError extends Error {
  override readonly name = 'ProxyError';
  readonly fields: Readonly<Record<string, string>>;
  /** What the client gets. */
  readonly status: number;
  /** Whether it counts against the endpoint that was asked. */
  readonly blamesUpstream: boolean;

  constructor(
    readonly code: ErrorCode,
    { cause, fields = {}, status = describe(code).status, blamesUpstream = describe(code).blamesUpstream }: ProxyErrorOptions = {},
  ) {
    super(`${code}: ${describe(code).detail}`, cause === undefined ? undefined : { cause });
    this.fields = fields;
    this.status = status;
    this.blamesUpstream = blamesUpstream;
  }

  get entry(): ErrorEntry {
    return describe(this.code);
  }
}

/** Whether an answer ended within its body by the endpoint's doing. One that is silent for too long may be a stream of events. */
export function isBrokenOff(reason: unknown): boolean {
  return reason instanceof ProxyError && (reason.code === 'upstream_truncated' || reason.code === 'upstream_protocol');
}

/** Any thrown value as a `ProxyError`. */
export function toProxyError(thrown: unknown): ProxyError {
  return thrown instanceof ProxyError ? thrown : new ProxyError('internal', { cause: thrown });
}
