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

/** For what a disk did not take, full or broken as it is. Whether it has got there all the same is not known. */
export function notWritten(what: string, error: unknown): StoreUnavailable {
  return new StoreUnavailable(`${what} could not be written (${(error as NodeJS.ErrnoException).code ?? 'unknown'}).`, true, { cause: error });
}
