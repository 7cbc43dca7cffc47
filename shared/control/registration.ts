import type { Clock, Timer } from '../clock/clock.js';
import type { WrittenEndpoint } from '../config/endpoints.js';
import type { Logger } from '../telemetry/logger.js';

export interface RegistrationOptions {
  /** Base address of the control plane. */
  readonly url: string;
  readonly token?: string | undefined;
  readonly service: string;
  /** Tells this instance from the service's others. */
  readonly instance: string;
  /** Where callers reach it. */
  readonly address: string;
  /** What callers may balance by, beside the address. */
  readonly place?: Omit<Exclude<WrittenEndpoint, string>, 'address'> | undefined;
  readonly ttlMs: number;
  readonly isHealthy: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Keeps an instance in the registry while it is healthy. The lease is renewed after a third of its time, so
 * that two renewals may fail; an instance that turns unhealthy is taken out at once, one that dies when its
 * lease ends.
 */
export class Registration {
  #timer: Timer | undefined;
  #registered = false;
  #failing = false;
  #closed = false;

  constructor(private readonly options: RegistrationOptions) {}

  /** Registers now if healthy, then goes on in the background. */
  async start(): Promise<void> {
    if (this.#closed) return;
    const { isHealthy, ttlMs, clock } = this.options;
    if (isHealthy()) await this.#register();
    else if (this.#registered) await this.#deregister();
    // While unhealthy the application may return any moment.
    const pause = this.#registered && !this.#failing ? ttlMs / 3 : Math.min(ttlMs / 3, 500);
    if (!this.#isClosed()) this.#timer = clock.after(pause, () => void this.start());
  }

  /** Takes the instance out of the registry. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    if (this.#registered) await this.#deregister();
  }

  #isClosed(): boolean {
    return this.#closed;
  }

  async #register(): Promise<void> {
    const { address, place, ttlMs, logger } = this.options;
    const succeeded = await this.#request('PUT', { address, ttl: ttlMs, ...place });
    if (succeeded && !this.#registered) logger.info({ address }, 'registered');
    if (!succeeded && !this.#failing) logger.warn('the registration could not be renewed; trying on');
    this.#registered ||= succeeded;
    this.#failing = !succeeded;
  }

  async #deregister(): Promise<void> {
    if (!(await this.#request('DELETE'))) return;
    this.#registered = false;
    this.options.logger.info('deregistered');
  }

  async #request(method: string, body?: object): Promise<boolean> {
    const { url, token, service, instance } = this.options;
    try {
      const response = await fetch(`${url.replace(/\/$/, '')}/v1/registry/${encodeURIComponent(service)}/${encodeURIComponent(instance)}`, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(2_000),
        headers: { ...(body && { 'content-type': 'application/json' }), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }
}
