import { request } from 'node:http';
import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { HealthCheckConfig } from '../../config/health.js';
import type { UpstreamProtocol } from '../../config/http2.js';
import { formatAddress, type Address } from '../../config/units.js';
import type { TlsClient } from '../../tls/client-credentials.js';
import { isShortage } from '../connect-error.js';

/** What is offered by a check that says nothing on its connection: what requests offer. */
const alpn: Readonly<Record<UpstreamProtocol, readonly string[]>> = { h1: ['http/1.1'], h2: ['h2'], auto: ['h2', 'http/1.1'] };
/** Interim answers (1xx) to one check. */
const maxInterim = 10;

/** Why a check failed: a word for the metrics, and what happened for the log. `resources`: we had none for it, which says nothing about the endpoint. */
export interface ProbeFailure {
  readonly kind: 'connect' | 'status' | 'protocol' | 'timeout' | 'resources';
  readonly detail: string;
}

export interface Probe {
  /** Ends the check; nothing is reported any more. */
  cancel(): void;
}

/** Checks an endpoint once and reports, once: undefined if it is well. */
export type StartProbe = (report: (failure: ProbeFailure | undefined) => void) => Probe;

/**
 * One kind of check of one endpoint. Each opens a connection of its own: one of the pool would say that an
 * old connection works, and would take it away from a request.
 */
export function probeOf(config: HealthCheckConfig, address: Address, credentials: TlsClient | undefined, protocol: UpstreamProtocol = 'h1'): StartProbe {
  const readyEvent = credentials === undefined ? 'connect' : 'secureConnect';
  if (config.path === undefined) return (report) => probeConnection(openSocket(address, credentials, alpn[protocol]), readyEvent, report);
  const hint = protocol === 'h2' ? '; a check with a path speaks HTTP/1.1, for one without it a connection is enough' : '';
  const { path, method = 'GET', headers = {}, expectedStatuses = [[200, 399] as const] } = config;
  const host = config.host ?? (address.path === undefined ? formatAddress(address) : 'localhost');
  const fields = { host, 'user-agent': 'health-check', ...headers };
  const isExpected = (status: number): boolean => expectedStatuses.some(([from, to]) => status >= from && status <= to);
  return (report) => {
    let isOver = false;
    const socket = openSocket(address, credentials, alpn.h1);
    const settle = (failure: ProbeFailure | undefined): void => {
      if (isOver) return;
      isOver = true;
      socket.destroy();
      report(failure);
    };
    let isConnected = false;
    socket.once(readyEvent, () => (isConnected = true));
    const check = request({ createConnection: () => socket, path, method, headers: fields });
    check.on('response', ({ statusCode }) => settle(isExpected(statusCode!) ? undefined : { kind: 'status', detail: `it answered ${statusCode}` }));
    check.on('upgrade', () => settle({ kind: 'status', detail: 'it answered 101' }));
    let interim = 0;
    check.on('information', () => {
      if (++interim > maxInterim) settle({ kind: 'protocol', detail: `it sent more than ${maxInterim} interim answers` });
    });
    check.on('error', (error) => settle(isConnected ? { kind: 'protocol', detail: `${error.message}${hint}` } : notConnected(error, hint)));
    check.on('close', () => settle({ kind: 'protocol', detail: `it closed the connection${hint}` }));
    check.end();
    return {
      cancel: () => {
        isOver = true;
        check.destroy();
        socket.destroy();
      },
    };
  };
}

function probeConnection(socket: Socket, readyEvent: 'connect' | 'secureConnect', report: (failure: ProbeFailure | undefined) => void): Probe {
  let isOver = false;
  const settle = (failure: ProbeFailure | undefined): void => {
    if (isOver) return;
    isOver = true;
    socket.destroy();
    report(failure);
  };
  socket.once(readyEvent, () => settle(undefined));
  socket.once('close', () => settle({ kind: 'connect', detail: 'it closed the connection' }));
  socket.on('error', (error) => settle(notConnected(error)));
  return {
    cancel: () => {
      isOver = true;
      socket.destroy();
    },
  };
}

function notConnected(error: Error, hint = ''): ProbeFailure {
  return { kind: isShortage(error) ? 'resources' : 'connect', detail: `${error.message}${hint}` };
}

function openSocket({ host, port, path }: Address, credentials: TlsClient | undefined, protocols: readonly string[]): Socket {
  const target = (path === undefined ? { host, port, autoSelectFamily: true } : { path }) as NetConnectOpts;
  return credentials === undefined ? connectTcp(target) : credentials.connect({ ...target, ALPNProtocols: [...protocols] }, host);
}
