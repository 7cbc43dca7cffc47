import type { ProxyError } from '../errors/proxy-error.js';
import type { Peer } from '../http/exchange.js';
import type { Sweepable } from '../clock/deadline-sweep.js';

/** A client's connection, as its listener sees it, whatever is spoken on it. */
export interface Connection extends Sweepable {
  /** Whom it belongs to, if it was proven by mutual TLS. */
  readonly peer: Peer | undefined;
  /** Closes it now if it carries nothing; called when the listener drains. */
  closeIfIdle(): void;
  /** Tells the client, where the protocol has words for it, to send no more requests; those in flight finish. */
  goAway?(): void;
  /** Answers whatever the client is about to ask with an error, and closes; where nothing was read yet. */
  refuse?(error: ProxyError): void;
  /** Serves what it carries, and then ends. */
  retire(): void;
  destroy(): void;
}
