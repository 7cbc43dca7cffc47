import { request } from 'node:http';
import { connect as connectTcp, type NetConnectOpts, type Socket } from 'node:net';
import type { HealthCheckConfig } from '../../config/health.js';
import { formatAddress, type Address } from '../../config/units.js';
import type { TlsClient } from '../../tls/client-credentials.js';

/** Why a check failed: a word for the metrics, and what happened for the log. */
export interface ProbeFailure {
  readonly kind: 'connect' | 'status' | 'protocol' | 'timeout';
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
export function probeOf(config: HealthCheckConfig, address: Address, credentials: TlsClient | undefined): StartProbe {
  const open = (): Socket => openSocket(address, credentials);
  const readyEvent = credentials === undefined ? 'connect' : 'secureConnect';
  if (config.path === undefined) return (report) => probeConnection(open(), readyEvent, report);
  const { path, method = 'GET', headers = {}, expectedStatuses = [[200, 399] as const] } = config;
  const host = config.host ?? (address.path === undefined ? formatAddress(address) : 'localhost');
  const fields = { host, 'user-agent': 'health-check', ...headers };
  const isExpected = (status: number): boolean => expectedStatuses.some(([from, to]) => status >= from && status <= to);
  return (report) => {
    let isOver = false;
    const socket = open();
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
    check.on('error', (error) => settle({ kind: isConnected ? 'protocol' : 'connect', detail: error.message }));
    check.on('close', () => settle({ kind: 'protocol', detail: 'it closed the connection' }));
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
  socket.on('error', (error) => settle({ kind: 'connect', detail: error.message }));
  return {
    cancel: () => {
      isOver = true;
      socket.destroy();
    },
  };
}

function openSocket({ host, port, path }: Address, credentials: TlsClient | undefined): Socket {
  const target = (path === undefined ? { host, port, autoSelectFamily: true } : { path }) as NetConnectOpts;
  return credentials === undefined ? connectTcp(target) : credentials.connect(target, host);
}
