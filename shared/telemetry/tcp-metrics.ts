import { Counter, Gauge, type Registry } from 'prom-client';
import type { TcpConnection } from '../tcp/tcp-connection.js';

/** What was passed for one upstream, by connections that are over; those that are open are read when the metrics are. */
interface Tally {
  received: number;
  sent: number;
}

/** What is counted of connections on which no HTTP is spoken. Nothing is written while bytes pass. */
export class TcpMetrics {
  readonly #outcomes: Counter;
  readonly #open = new Set<TcpConnection>();
  readonly #tallies = new Map<string, Map<string, Tally>>();

  constructor(registry: Registry) {
    const registers = [registry];
    this.#outcomes = new Counter({ name: 'proxy_tcp_connections_total', help: 'TCP connections that are over, by how they ended: ok, or the code of an error.', labelNames: ['listener', 'upstream', 'outcome'], registers });
    const open = this.#open;
    new Gauge({
      name: 'proxy_tcp_connections', help: 'TCP connections that are open.', labelNames: ['listener'], registers,
      collect() {
        this.reset();
        for (const { exchange } of open) this.inc({ listener: exchange.listener });
      },
    });
    this.#bytes(registers, 'proxy_tcp_received_bytes_total', 'Bytes that clients sent.', 'received', ({ client }) => client.bytes);
    this.#bytes(registers, 'proxy_tcp_sent_bytes_total', 'Bytes that were sent to clients.', 'sent', ({ upstream }) => upstream?.bytes ?? 0);
  }

  opened(connection: TcpConnection): void {
    this.#open.add(connection);
  }

  over(connection: TcpConnection): void {
    const { listener, upstream = '', errorCode = 'ok', requestBytes, responseBytes } = connection.exchange;
    this.#open.delete(connection);
    this.#outcomes.inc({ listener, upstream, outcome: errorCode });
    const tally = this.#tally(listener, upstream);
    tally.received += requestBytes;
    tally.sent += responseBytes;
  }

  #tally(listener: string, upstream: string): Tally {
    let byUpstream = this.#tallies.get(listener);
    if (byUpstream === undefined) this.#tallies.set(listener, (byUpstream = new Map<string, Tally>()));
    let tally = byUpstream.get(upstream);
    if (tally === undefined) byUpstream.set(upstream, (tally = { received: 0, sent: 0 }));
    return tally;
  }

  #bytes(registers: Registry[], name: string, help: string, key: keyof Tally, current: (connection: TcpConnection) => number): void {
    const open = this.#open;
    const tallies = this.#tallies;
    new Counter({
      name, help, labelNames: ['listener', 'upstream'], registers,
      collect() {
        this.reset();
        for (const [listener, byUpstream] of tallies) for (const [upstream, tally] of byUpstream) this.inc({ listener, upstream }, tally[key]);
        for (const connection of open) {
          const { listener, upstream = '' } = connection.exchange;
          this.inc({ listener, upstream }, current(connection));
        }
      },
    });
  }
}
