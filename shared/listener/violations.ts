import type { ErrorCode } from '../errors/catalogue.js';
import { methodRefused } from '../errors/method-refused.js';
import { ProxyError } from '../errors/proxy-error.js';
import { Http1Error, type Http1Violation } from '../http1/http1-error.js';

const codes: Readonly<Record<Exclude<Http1Violation, 'method'>, ErrorCode>> = {
  syntax: 'bad_request',
  framing: 'bad_request',
  head_too_large: 'head_too_large',
  too_many_headers: 'head_too_large',
  target_too_long: 'target_too_long',
  version: 'version_unsupported',
};

/** What a client is told about a message that cannot be accepted. */
export function violationToError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown;
  if (!(thrown instanceof Http1Error)) return new ProxyError('internal', { cause: thrown });
  if (thrown.violation === 'method') return methodRefused(thrown);
  return new ProxyError(codes[thrown.violation], { cause: thrown });
}
