import { get, type ClientRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
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
/** How long a probe may take in all (ms), however much comes meanwhile. */
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
    return this.#inTime(connect({ ...this.options.app }), (probe, settle) => probe.once('connect', () => settle(true)));
  }

  #answers(path: string): Promise<boolean> {
    const { host, port, path: socketPath } = this.options.app;
    const target = socketPath === undefined ? { host, port } : { socketPath };
    const probe = get({ ...target, path, agent: false, headers: { host: socketPath === undefined ? formatAddress(this.options.app) : 'localhost' } });
    return this.#inTime(probe, (request, settle) => request.once('response', ({ statusCode }) => settle(statusCode! < 400)));
  }

  /** Resolves once the probe has settled; one that fails, ends without that (a change of protocol, say) or takes too long has failed. Leaves nothing of it open. */
  #inTime<Probe extends Socket | ClientRequest>(probe: Probe, start: (probe: Probe, settle: (isUp: boolean) => void) => void): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.options.clock.after(probeTimeoutMs, () => settle(false));
      const settle = (isUp: boolean): void => {
        timer.cancel();
        resolve(isUp);
        probe.destroy();
      };
      probe.on('error', () => settle(false)).once('close', () => settle(false));
      start(probe, settle);
    });
  }
}
