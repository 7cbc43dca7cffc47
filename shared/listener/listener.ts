import type { AddressInfo } from 'node:net';
import { Http1Listener, type ListenerOptions } from './http1-listener.js';

/** Takes requests from somewhere and hands them to a stack, which does not know from which. */
export interface Listener {
  readonly isDraining: boolean;
  readonly connectionCount: number;
  /** Starts to listen; rejects when the address cannot be taken. Resolves with the address taken. */
  listen(): Promise<AddressInfo>;
  /** Stops accepting and lets exchanges in flight finish. */
  drain(options?: DrainOptions): Promise<void>;
  /** Breaks off whatever is left. */
  close(): Promise<void>;
}

export interface DrainOptions {
  /** Connections that wait for their next request may wait on, and are closed with its answer; default: false. */
  readonly keepIdle?: boolean;
}

/** The engine's own listener, unless HTTP/2 is asked for: what that takes is loaded only then, and takes 10 MiB. */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  if (options.listen.http2 !== true) return new Http1Listener(options);
  const { FastifyListener } = await import('./fastify/fastify-listener.js');
  return new FastifyListener(options);
}
