/**
 * The store cannot be asked right now. Nothing is wrong with the request: it may be sent again.
 *
 * A change that was on its way when the store went away may have been made all the same: `isUnsure` says so.
 */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable';
  /** Stable; what the API answers with, by status 503. */
  readonly code = 'store_unavailable';

  constructor(
    /** What a client may read: no address in it. */
    message: string,
    readonly isUnsure = false,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
