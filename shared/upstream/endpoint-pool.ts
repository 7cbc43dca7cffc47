import type { Exchange } from '../http/exchange.js';
import type { Service } from '../http/service.js';

/** What watches the connections of an endpoint together with others. */
export interface ConnectionGuard {
  /** Whether one more may be made, for which one that is idle may be closed. `serveWaiting` is called when that may have changed. */
  mayConnect(): boolean;
  /** A connection is gone, or idle, or has room again. */
  freed(): void;
}

/** The connections to one endpoint, whatever is spoken on them. */
export interface EndpointPool {
  /** The endpoint's address, as logs and metrics name it. */
  readonly name: string;
  /** Exchanges in progress. */
  readonly active: number;
  /** Requests that wait for a connection. */
  readonly pending: number;
  /** Connections. */
  readonly size: number;
  /** Connections, open or being made. */
  readonly connections: number;
  /** Requests that wait in line, for which no connection is being made. */
  readonly queued: number;
  guard: ConnectionGuard | undefined;
  /** Told when the endpoint breaks an answer off within its body, or goes on with what is no HTTP; not of one whose status was a failure already. */
  onBrokenOff: ((exchange: Exchange) => void) | undefined;
  readonly limits: { readonly maxConnections: number };
  /** Whether a request would find a connection to go out on, or one that is being made and will have room for it. */
  readonly hasIdle: boolean;
  /** Sends what waits in line, as far as there is room and connections may be made. */
  serveWaiting(): void;
  /** Closes the connection that has been idle longest, so that one may be made elsewhere. False if none is idle. */
  closeOldestIdle(): boolean;
  /** Closes idle connections now and the others when their exchanges are over. */
  close(): void;
  /** Closes every connection, whatever it carries. */
  destroy(): void;
}

/** A pool that chooses the connection of a request by itself. */
export interface SendingPool extends EndpointPool {
  readonly send: Service;
}
