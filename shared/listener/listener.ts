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
  /** In the mesh: plaintext is refused from now on, also on connections that speak it already. */
  endPlaintext?(): void;
  /** Breaks off whatever is left. */
  close(): Promise<void>;
}

export interface DrainOptions {
  /**
   * Another process serves the same ports by now: nothing needs to be accepted for the sake of what is in flight, and connections that wait for
   * their next request may wait on, and are closed with its answer. Default: false.
   */
  readonly isReplaced?: boolean;
}

/** The engine's own listener, unless Fastify is asked for. What HTTP/2 takes is loaded only where it is spoken: Fastify alone takes 10 MiB. */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  switch (options.listen.http2) {
    case 'fastify': {
      const { FastifyListener } = await import('./fastify/fastify-listener.js');
      return new FastifyListener(options);
    }
    case 'engine': {
      const { http2 } = await import('./http2/http2.js');
      return new Http1Listener({ ...options, http2 });
    }
    default:
      return new Http1Listener(options);
  }
}
