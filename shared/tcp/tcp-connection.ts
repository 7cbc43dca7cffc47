import type { Socket } from 'node:net';
import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep, Sweepable } from '../clock/deadline-sweep.js';
import type { TcpListenerConfig } from '../config/tcp.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError, toProxyError } from '../errors/proxy-error.js';
import { loggedReasonOf } from '../errors/reason.js';
import { emptyBody } from '../http/body.js';
import { breakOff } from '../http/break-off.js';
import { Exchange, type Peer } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { Service } from '../http/service.js';
import { tunnelEndOf, type TunnelEnd } from '../http/tunnel.js';
import { plainAddress } from '../listener/network-list.js';
import { proxyHeader, type Party } from './proxy-header.js';

/** What a connection needs of its listener. */
export interface TcpContext {
  readonly config: TcpListenerConfig;
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  /** Opens the other side; looked up for each connection, so that upstreams can be exchanged. Undefined: there is none of that name. */
  readonly open: () => Service | undefined;
  /** Hears of every connection that is over, once. */
  readonly onOver: (connection: TcpConnection) => void;
}

/** A client's connection, and what lies under its TLS. */
interface AcceptedSocket {
  readonly socket: Socket;
  readonly raw: Socket;
  readonly client: Party;
  /** Whom it belongs to, if it was proven by mutual TLS. */
  readonly peer?: Peer | undefined;
}

/**
 * One connection, from its acceptance until both of its sides are closed.
 *
 * `opening`: an endpoint is sought; of what the client sends meanwhile at most one read is held. `open`: bytes pass both ways, each
 * direction ends by itself, and a side that takes nothing makes the other wait. `over`.
 *
 * Whoever breaks off, the other side sees it broken off too, with a reset: a plain end would pass for the end of what was sent.
 */
export class TcpConnection implements Sweepable {
  deadline: number;
  readonly exchange: Exchange;
  readonly client: TunnelEnd;
  #upstream: TunnelEnd | undefined;
  #isOpen = false;
  #sidesOpen = 1;
  #activeAt = 0;

  constructor(
    readonly accepted: AcceptedSocket,
    private readonly context: TcpContext,
  ) {
    const { config, clock } = context;
    const { socket, raw, client, peer } = accepted;
    const now = clock.now();
    this.exchange = new Exchange(config.name, client.address, now);
    this.exchange.peer = peer;
    this.deadline = now + config.connectTimeout;
    this.client = tunnelEndOf(socket, () => breakOff(raw, socket));
    this.client.onClosed = () => this.#closed('client_closed');
  }

  get upstream(): TunnelEnd | undefined {
    return this.#upstream;
  }

  async open(): Promise<void> {
    const { exchange } = this;
    const { cancellation } = exchange;
    const service = this.context.open();
    try {
      if (service === undefined) throw new ProxyError('no_route');
      const { tunnel } = await service({ method: 'CONNECT', target: '', path: '', authority: '', scheme: 'http', headers: Headers.of({}), body: emptyBody, stream: { preamble: this.#preamble() }, cancellation }, exchange);
      this.#join(tunnel!);
    } catch (error) {
      this.#fail(toProxyError(error));
    }
  }

  /** Ends both sides for a reason of our own. */
  end(code: ErrorCode): void {
    this.#note(code);
    this.exchange.cancellation.cancel(new ProxyError(code));
    this.client.destroy();
    this.#upstream?.destroy();
  }

  onDeadline(): void {
    if (!this.#isOpen) {
      this.end('upstream_connect_failed');
      return;
    }
    const due = this.#activeAt + this.context.config.idleTimeout;
    if (due > this.context.clock.now()) {
      this.deadline = due;
      return;
    }
    this.#note('idle_timeout');
    this.client.close();
    this.#upstream?.close();
  }

  #join(upstream: TunnelEnd): void {
    const { config, clock } = this.context;
    // The client may have left, or we given up, as the connection was made.
    if (this.#sidesOpen === 0) {
      upstream.destroy();
      return;
    }
    this.#upstream = upstream;
    this.#isOpen = true;
    this.#sidesOpen++;
    upstream.onClosed = () => this.#closed('upstream_truncated');
    this.#activeAt = clock.now();
    this.deadline = config.idleTimeout === 0 ? Infinity : this.#activeAt + config.idleTimeout;
    const onActive = (): void => {
      this.#activeAt = clock.now();
    };
    this.client.onActive = onActive;
    upstream.onActive = onActive;
    this.client.join(upstream);
  }

  /** No connection was made: the client must not take that for an answer without content. */
  #fail(error: ProxyError): void {
    // One that was given up before has its reason.
    if (this.exchange.errorCode === undefined) this.exchange.reason = loggedReasonOf(error);
    this.#note(error.code);
    this.client.destroy();
  }

  /** One side is gone. If not both had said all they had to say, it is the first to go that broke the connection off. */
  #closed(code: 'client_closed' | 'upstream_truncated'): void {
    if (!this.#isOpen) {
      this.#note('client_closed');
      this.exchange.cancellation.cancel(new ProxyError('client_closed'));
    } else if (this.#sidesOpen === 2 && !(this.client.hasEnded && this.#upstream!.hasEnded)) {
      this.#note(code);
    }
    if (--this.#sidesOpen > 0) return;
    this.exchange.requestBytes = this.client.bytes;
    this.exchange.responseBytes = this.#upstream?.bytes ?? 0;
    this.exchange.finish(this.context.clock.now());
    this.context.onOver(this);
  }

  #note(code: ErrorCode): void {
    this.exchange.errorCode ??= code;
  }

  #preamble(): Buffer | undefined {
    const { sendProxyProtocol } = this.context.config;
    if (sendProxyProtocol === undefined) return undefined;
    const { raw, client } = this.accepted;
    return proxyHeader(sendProxyProtocol, client, { address: plainAddress(raw.localAddress ?? ''), port: raw.localPort ?? 0 });
  }
}
