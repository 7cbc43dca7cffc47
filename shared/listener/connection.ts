import type { Sweepable } from '../clock/deadline-sweep.js';

/** A client's connection, as its listener sees it, whatever is spoken on it. */
export interface Connection extends Sweepable {
  /** Closes it now if it carries nothing; called when the listener drains. */
  closeIfIdle(): void;
  /** Tells the client, where the protocol has words for it, to send no more requests; those in flight finish. */
  goAway?(): void;
  destroy(): void;
}
