/** Which rule a message broke; the listener and the upstream each turn it into an error of their own. */
export type Http1Violation =
  | 'syntax'
  | 'head_too_large'
  | 'target_too_long'
  | 'too_many_headers'
  | 'version'
  | 'method'
  | 'framing';

/** A message that is not acceptable HTTP/1.x. `message` says why, for the log only. */
export class Http1Error extends Error {
  override readonly name = 'Http1Error';
  constructor(
    readonly violation: Http1Violation,
    message: string,
  ) {
    super(message);
  }
}
