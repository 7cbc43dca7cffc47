import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import type { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { Address } from '../config/units.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Cancellation } from '../http/cancellation.js';
import { breakOff } from '../http/break-off.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { connectError } from './connect-error.js';

interface DialOptions {
  readonly clock: Clock;
  readonly sweep: DeadlineSweep;
  /** TLS included. */
  readonly connectTimeoutMs: number;
  readonly credentials: TlsClient | undefined;
  /** Goes out first, and before TLS. */
  readonly preamble: Buffer | undefined;
  readonly cancellation: Cancellation;
  readonly isOwnAddress: ((host: string, port: number) => boolean) | undefined;
}

/** A connection that was made, and what ends it so that the peer sees it broken off. */
interface Dialled {
  readonly socket: Socket;
  readonly breakOff: () => void;
}

/**
 * Makes a connection for a stream. The TCP connection comes first and TLS is put on it, so that it can be reset under TLS: a
 * mere end would look to many like the end of what was sent.
 */
export function dialStream({ host, port, path }: Address, options: DialOptions): Promise<Dialled> {
  const { clock, sweep, connectTimeoutMs, credentials, preamble, cancellation, isOwnAddress } = options;
  return new Promise((resolve, reject) => {
    const target = { ...(path === undefined ? { host, port, autoSelectFamily: true } : { path }), noDelay: true, keepAlive: true, allowHalfOpen: true, highWaterMark };
    const raw = connectTcp(target as NetConnectOpts);
    let socket: Socket = raw;
    let code: ErrorCode = 'upstream_connect_failed';
    let isOver = false;
    let unsubscribe = (): void => {};
    const attempt = {
      deadline: clock.now() + connectTimeoutMs,
      onDeadline: () => fail(new ProxyError('upstream_connect_failed', { cause: new Error('the connection took too long') })),
    };
    const settle = (): void => {
      isOver = true;
      sweep.delete(attempt);
      unsubscribe();
    };
    const fail = (reason: Error): void => {
      if (isOver) return;
      settle();
      socket.destroy();
      raw.destroy();
      reject(reason);
    };
    // Once there is a connection, its errors are followed by `close`, where they are dealt with.
    const failed = (error: Error): void => fail(connectError(code, error));
    const closed = (): void => failed(new Error('the connection was closed'));
    const done = (): void => {
      if (isOver) return;
      settle();
      resolve({ socket, breakOff: () => breakOff(raw, socket) });
    };
    raw.on('error', failed);
    raw.once('close', closed);
    raw.once('connect', () => {
      if (isOwnAddress !== undefined && path === undefined && isOwnAddress(raw.remoteAddress!, raw.remotePort!)) {
        fail(new ProxyError('loop_detected'));
        return;
      }
      if (preamble !== undefined) raw.write(preamble);
      if (credentials === undefined) {
        done();
        return;
      }
      code = 'upstream_tls_failed';
      // What is spoken inside is not for us to say.
      socket = credentials.connect({ socket: raw, ALPNProtocols: undefined, highWaterMark } as ConnectionOptions, host);
      socket.on('error', failed);
      socket.once('secureConnect', done);
    });
    sweep.add(attempt);
    unsubscribe = cancellation.onCancel(fail);
  });
}

/** Two reads: with one, every write would make its source wait. */
const highWaterMark = 131_072;
