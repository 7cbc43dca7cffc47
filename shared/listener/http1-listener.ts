import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { LimitsConfig } from '../config/sections.js';
import type { Service } from '../http/service.js';
import { Http1Connection } from './http1-connection.js';

export interface ListenerOptions {
  /** Name in logs and metrics: `edge`, `inbound`, `outbound`. */
  readonly name: string;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls?: TlsOptions | undefined;
  readonly limits: LimitsConfig;
  readonly clock: Clock;
  /** The stack that answers every request, refused ones excepted. Looked up per request, so that it can be exchanged. */
  readonly service: Service;
  /** Answers a request that could not even be parsed; the log and the metrics see it through this. */
  readonly refuse: Service;
  readonly onConnection?: ((delta: 1 | -1) => void) | undefined;
}

/** Accepts HTTP/1.x connections and hands their requests to the stack. */
export class Http1Listener {
  readonly options: ListenerOptions;
  readonly sweep: DeadlineSweep;
  readonly #server: Server;
  readonly #connections = new Set<Http1Connection>();
  readonly #perClient = new Map<string, number>();
  #draining = false;
  #drained: (() => void) | undefined;

  constructor(options: ListenerOptions) {
    this.options = options;
    const { limits, clock } = options;
    this.sweep = new DeadlineSweep(clock, [limits.headTimeout, limits.bodyIdleTimeout, limits.idleTimeout, halfCloseGraceMs * 2]);
    const accept = (socket: Socket): void => this.#accept(socket);
    // Half-open, so that a client's FIN is ours to interpret; see Http1Connection.
    this.#server =
      options.tls === undefined
        ? createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: 65_536 }, accept)
        : createTlsServer({ minVersion: 'TLSv1.2', handshakeTimeout: limits.headTimeout, ...options.tls, allowHalfOpen: true, noDelay: true }, accept);
    this.#server.maxConnections = limits.maxConnections;
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Starts to listen; rejects when the address cannot be taken. Resolves with the address taken. */
  listen(): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: this.options.host, port: this.options.port, backlog: 1_024 }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', () => {});
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /** Stops accepting, lets exchanges in flight finish and their answers say `Connection: close`. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#server.listening) this.#server.close();
    for (const connection of this.#connections) connection.closeIfIdle();
    return new Promise((resolve) => {
      this.#drained = resolve;
      this.#checkDrained();
    });
  }

  /** Breaks off whatever is left. */
  async close(): Promise<void> {
    const drained = this.drain();
    for (const connection of this.#connections) connection.destroy();
    await drained;
    this.sweep.close();
  }

  #accept(socket: Socket): void {
    const { limits, onConnection } = this.options;
    const client = socket.remoteAddress ?? '';
    const count = (this.#perClient.get(client) ?? 0) + 1;
    socket.on('error', ignore);
    if (count > limits.maxConnectionsPerClient || this.#draining) {
      socket.destroy();
      return;
    }
    this.#perClient.set(client, count);
    const connection = new Http1Connection(socket, this);
    this.#connections.add(connection);
    this.sweep.add(connection);
    onConnection?.(1);
    socket.once('close', () => {
      this.#connections.delete(connection);
      this.sweep.delete(connection);
      const left = this.#perClient.get(client)! - 1;
      if (left === 0) this.#perClient.delete(client);
      else this.#perClient.set(client, left);
      onConnection?.(-1);
      this.#checkDrained();
    });
  }

  #checkDrained(): void {
    if (this.#connections.size === 0) this.#drained?.();
  }
}

/** Socket errors are followed by `close`, where they are dealt with. */
const ignore = (): void => {};

/**
 * How long a client that sent FIN after its request may still wait for the answer. A FIN may mean
 * "no more requests" (`nc -N`) or "gone": the wire does not say. Answers that are about to come are
 * delivered; after this time the client counts as gone and its upstream attempt is cancelled.
 */
export const halfCloseGraceMs = 20;
