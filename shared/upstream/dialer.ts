import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { Address } from '../config/units.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { TlsSession } from '../tls/tls-session.js';
import { connectError } from './connect-error.js';

interface DialDependencies {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  readonly credentials?: TlsClient | undefined;
  /** Whether what is sent to an address would come back. */
  readonly isLoop?: ((host: string, port: number) => boolean) | undefined;
}

/** What sockets are opened with, beside the address. */
type SocketOptions = Omit<NetConnectOpts & ConnectionOptions, 'host' | 'port' | 'path'>;

interface DialOutcome {
  /** There is a connection, with the protocol that was chosen for it, if it speaks TLS. */
  ready(socket: Socket, protocol: string | undefined): void;
  failed(reason: Error): void;
}

/** Makes connections to an address, with TLS if there are credentials for it, for as long as `connectTimeoutMs` each. */
export class Dialer {
  readonly #session: TlsSession | undefined;

  constructor(
    private readonly address: Address,
    private readonly connectTimeoutMs: number,
    private readonly dependencies: DialDependencies,
  ) {
    this.#session = dependencies.credentials && new TlsSession(dependencies.credentials, dependencies.clock);
  }

  get isSecure(): boolean {
    return this.#session !== undefined;
  }

  /** Tells of one outcome, once, and never before it returns. What it returns gives it up; the outcome is not told then. */
  dial(options: SocketOptions, outcome: DialOutcome): () => void {
    const { clock, sweep, isLoop } = this.dependencies;
    const socket = this.#open(options);
    const readyEvent = this.isSecure ? 'secureConnect' : 'connect';
    // What fails once there is a connection is TLS: an unknown authority, another name, no protocol in common.
    let code: ErrorCode = 'upstream_connect_failed';
    if (this.isSecure) socket.once('connect', () => (code = 'upstream_tls_failed'));
    let isOver = false;
    const settle = (): void => {
      isOver = true;
      sweep.delete(attempt);
      socket.off('error', onError);
      socket.off(readyEvent, onReady);
    };
    const giveUp = (): void => {
      if (isOver) return;
      settle();
      socket.on('error', () => {});
      socket.destroy();
    };
    const fail = (reason: Error): void => {
      giveUp();
      outcome.failed(reason);
    };
    const onError = (cause: Error): void => fail(connectError(code, cause));
    const onReady = (): void => {
      if (isLoop !== undefined && this.address.path === undefined && isLoop(socket.remoteAddress!, socket.remotePort!)) {
        fail(new ProxyError('loop_detected'));
        return;
      }
      settle();
      const { alpnProtocol } = socket as Partial<TLSSocket>;
      outcome.ready(socket, typeof alpnProtocol === 'string' ? alpnProtocol : undefined);
    };
    const attempt = {
      deadline: clock.now() + this.connectTimeoutMs,
      onDeadline: () => fail(new ProxyError('upstream_connect_failed', { cause: new Error('the connection took too long') })),
    };
    sweep.add(attempt);
    socket.once('error', onError);
    socket.once(readyEvent, onReady);
    return giveUp;
  }

  #open(options: SocketOptions): Socket {
    const { host, port, path } = this.address;
    const target = { ...(path === undefined ? { host, port, autoSelectFamily: true } : { path }), noDelay: true, keepAlive: true, ...options };
    return this.#session === undefined ? connectTcp(target as NetConnectOpts) : this.#session.connect(target, host);
  }
}
