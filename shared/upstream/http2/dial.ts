import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { DeadlineSweep } from '../../clock/deadline-sweep.js';
import type { Clock } from '../../clock/clock.js';
import type { Address } from '../../config/units.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { TlsClient } from '../../tls/client-credentials.js';
import { TlsSession } from '../../tls/tls-session.js';
import { connectError } from '../connect-error.js';

interface DialDependencies {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  readonly credentials?: TlsClient | undefined;
}

/** Connects to an address, with TLS if there are credentials for it, for a protocol that is settled by what ALPN chooses. */
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
    return this.dependencies.credentials !== undefined;
  }

  /** Resolves with a connection and the protocol that was chosen for it, if it speaks TLS. */
  dial(protocols: readonly string[]): Promise<{ readonly socket: Socket; readonly protocol: string | undefined }> {
    const { clock, sweep, credentials } = this.dependencies;
    return new Promise((resolve, reject) => {
      const socket = this.#open(protocols);
      const ready = credentials === undefined ? 'connect' : 'secureConnect';
      let code: ErrorCode = 'upstream_connect_failed';
      if (credentials !== undefined) socket.once('connect', () => (code = 'upstream_tls_failed'));
      const settle = (): void => {
        sweep.delete(attempt);
        socket.off('error', onError);
        socket.off(ready, onReady);
        socket.on('error', () => {});
      };
      const fail = (error: Error): void => {
        settle();
        socket.destroy();
        reject(error);
      };
      const onError = (cause: Error): void => fail(connectError(code, cause));
      const onReady = (): void => {
        settle();
        const { alpnProtocol } = socket as Partial<TLSSocket>;
        resolve({ socket, protocol: typeof alpnProtocol === 'string' ? alpnProtocol : undefined });
      };
      const attempt = { deadline: clock.now() + this.connectTimeoutMs, onDeadline: () => fail(new ProxyError('upstream_connect_failed', { cause: new Error('the connection took too long') })) };
      sweep.add(attempt);
      socket.once('error', onError);
      socket.once(ready, onReady);
    });
  }

  #open(protocols: readonly string[]): Socket {
    const { host, port, path } = this.address;
    const options = { ...(path === undefined ? { host, port, autoSelectFamily: true } : { path }), noDelay: true, keepAlive: true, highWaterMark: 65_536 };
    if (this.#session === undefined) return connectTcp(options as NetConnectOpts);
    return this.#session.connect({ ...options, ALPNProtocols: [...protocols] }, host);
  }
}
