import { get } from 'node:http';
import { connect } from 'node:net';
import type { Clock, Timer } from '../shared/clock/clock.js';
import { formatAddress, type Address } from '../shared/config/units.js';

interface AppHealthOptions {
  readonly app: Address;
  /** Path whose answer must be below 400; without it a connection is enough. */
  readonly path?: string | undefined;
  readonly intervalMs: number;
  readonly clock: Clock;
}

/** Failures in a row before an application counts as unhealthy. One success makes it healthy. */
const unhealthyAfter = 3;
const probeTimeoutMs = 1_000;

/** Asks the application beside the sidecar again and again whether it is there. */
export class AppHealth {
  #failures = unhealthyAfter;
  #timer: Timer | undefined;
  #closed = false;

  constructor(private readonly options: AppHealthOptions) {}

  get isHealthy(): boolean {
    return this.#failures < unhealthyAfter;
  }

  /** Probes once, then goes on in the background. */
  async start(): Promise<void> {
    const isUp = await (this.options.path === undefined ? this.#connects() : this.#answers(this.options.path));
    this.#failures = isUp ? 0 : this.#failures + 1;
    if (!this.#closed) this.#timer = this.options.clock.after(this.options.intervalMs, () => void this.start());
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #connects(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ ...this.options.app, timeout: probeTimeoutMs });
      const settle = (isUp: boolean): void => {
        socket.destroy();
        resolve(isUp);
      };
      socket.once('connect', () => settle(true)).once('error', () => settle(false)).once('timeout', () => settle(false));
    });
  }

  #answers(path: string): Promise<boolean> {
    const { host, port, path: socketPath } = this.options.app;
    return new Promise((resolve) => {
      const target = socketPath === undefined ? { host, port } : { socketPath };
      const probe = get({ ...target, path, agent: false, timeout: probeTimeoutMs, headers: { host: socketPath === undefined ? formatAddress(this.options.app) : 'localhost' } }, (response) => {
        response.destroy();
        resolve(response.statusCode! < 400);
      });
      probe.on('error', () => resolve(false)).on('timeout', () => probe.destroy());
    });
  }
}
