import type { Socket } from 'node:net';
import type { LimitsConfig } from '../config/sections.js';
import { descriptorLimit, hasLastDescriptor } from './descriptors.js';

/** A limit that turns connections away as they come. */
type ConnectionLimit = 'maxConnections' | 'maxConnectionsPerClient';

/** That, or that no descriptor was left for it. */
export type RefusalReason = ConnectionLimit | 'descriptors';

/** Hears of connections that were closed as they came, since a limit was reached. Who the client is is not known to everybody. */
export type OnRefusal = (reason: RefusalReason, clientAddress?: string) => void;

/**
 * How many connections a listener has, in all and of each client, whatever they have still to pass. The server's own count would not do: with
 * workers it passes what is too much from one to the next, for ever.
 */
export class ConnectionLimits {
  #accepted = 0;
  readonly #perClient = new Map<string, number>();
  readonly #descriptors = descriptorLimit();

  constructor(
    private readonly limits: Pick<LimitsConfig, ConnectionLimit>,
    private readonly onRefusal: OnRefusal = () => {},
  ) {}

  /** Whether there may be one more in all, which is counted until it is closed. One that is too many is closed. `peer`: whose it is, for the report. */
  takes(peer: string, socket: Socket): boolean {
    if (this.#accepted >= this.limits.maxConnections) return this.#turnAway(socket, 'maxConnections', peer);
    if (hasLastDescriptor(socket, this.#descriptors)) return this.#turnAway(socket, 'descriptors', peer);
    this.#accepted++;
    socket.once('close', () => this.#accepted--);
    return true;
  }

  /** Whether this client may have one more, which is counted until it is closed. One that is too many is closed. Clients of a Unix domain socket are not told apart. */
  takesFrom(client: string, socket: Socket): boolean {
    if (client === '') return true;
    const count = (this.#perClient.get(client) ?? 0) + 1;
    if (count > this.limits.maxConnectionsPerClient) return this.#turnAway(socket, 'maxConnectionsPerClient', client);
    this.#perClient.set(client, count);
    socket.once('close', () => {
      const left = this.#perClient.get(client)! - 1;
      if (left === 0) this.#perClient.delete(client);
      else this.#perClient.set(client, left);
    });
    return true;
  }

  #turnAway(socket: Socket, limit: RefusalReason, client: string): false {
    // Errors are followed by `close`.
    socket.on('error', () => {});
    socket.destroy();
    this.onRefusal(limit, client);
    return false;
  }
}
