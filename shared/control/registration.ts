import type { Clock, Timer } from '../clock/clock.js';
import type { WrittenEndpoint } from '../config/endpoints.js';
import type { Logger } from '../telemetry/logger.js';
import { isSuccess } from '../http-client/http-client.js';
import type { ControlPlaneLink } from './control-plane-link.js';

interface RegistrationOptions {
  readonly link: ControlPlaneLink;
  readonly service: string;
  /** Tells this instance from the service's others. */
  readonly instance: string;
  /** Where callers reach it. */
  readonly address: string;
  /** What callers may balance by, beside the address. */
  readonly place?: Omit<Exclude<WrittenEndpoint, string>, 'address'> | undefined;
  /** The SPIFFE name that it proves, when it has one by now. */
  readonly identity: () => string | undefined;
  readonly ttlMs: number;
  readonly isHealthy: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often the application's health is looked at (ms), so that it is out at once when it fails, and back when it returns. */
const lookMs = 500;
const requestTimeoutMs = 2_000;
/** How many control planes are asked to take the instance out when the process leaves: its end does not wait for more. */
const maxAskedOnLeaving = 3;

/**
 * Keeps an instance in the registry while it is healthy. The lease is renewed after a third of its time, so
 * that two renewals may fail, and at once when the control plane is back: it may have forgotten. An instance that turns unhealthy is taken
 * out at once, one that dies when its lease ends.
 *
 * One request at a time, so that none that is late undoes a later one. One without an answer may have been carried out: it is not known
 * then whether the instance is in the registry.
 */
export class Registration {
  #timer: Timer | undefined;
  #state: 'out' | 'unknown' | 'in' = 'out';
  #failing = false;
  #closed = false;
  /** Clock reading (ms) at which the lease is to be renewed. */
  #renewAt = -Infinity;
  #renewalsAskedFor = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly options: RegistrationOptions) {}

  /** Registers now if healthy, then goes on in the background. */
  start(): Promise<void> {
    return this.#enqueue(() => this.#look());
  }

  /** The control plane may not know this instance any more. */
  renew(): void {
    this.#renewalsAskedFor++;
    this.#renewAt = -Infinity;
    if (this.#timer !== undefined) void this.#enqueue(() => this.#look());
  }

  /** Takes the instance out of the registry. Resolves with whether it was taken out now. */
  async close(): Promise<boolean> {
    const { link } = this.options;
    this.#closed = true;
    this.#timer?.cancel();
    let isTakenOut = false;
    await this.#enqueue(async () => {
      // The next look would ask the next control plane, and there is no next look.
      const asked = new Set<string>();
      while (!this.#isOut() && !asked.has(link.url) && asked.size < maxAskedOnLeaving) {
        asked.add(link.url);
        await this.#deregister();
        isTakenOut = this.#isOut();
      }
    });
    return isTakenOut;
  }

  #enqueue(step: () => Promise<void>): Promise<void> {
    return (this.#running = this.#running.then(step));
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    const { isHealthy, clock, ttlMs } = this.options;
    if (!isHealthy()) {
      if (!this.#isOut()) await this.#deregister();
    } else if (this.#state !== 'in' || clock.now() >= this.#renewAt) {
      await this.#register();
    }
    if (this.#isClosed()) return;
    this.#timer?.cancel();
    this.#timer = clock.after(Math.min(lookMs, ttlMs / 3), () => void this.start());
  }

  /** It may have been closed meanwhile. */
  #isClosed(): boolean {
    return this.#closed;
  }

  #isOut(): boolean {
    return this.#state === 'out';
  }

  async #register(): Promise<void> {
    const { address, place, ttlMs, identity, logger, clock } = this.options;
    const name = identity();
    const renewals = this.#renewalsAskedFor;
    if (this.#state === 'out') this.#state = 'unknown';
    const succeeded = await this.#request('PUT', { address, ttl: ttlMs, ...place, ...(name !== undefined && { identity: name }) });
    if (succeeded && this.#state !== 'in') logger.info({ address, ...(name !== undefined && { identity: name }) }, 'registered');
    if (!succeeded && !this.#failing) logger.warn('the registration could not be renewed; trying on');
    if (succeeded) {
      this.#state = 'in';
      // Looked at every so often: a look before a third has passed is the last that is in time. What was asked for meanwhile is still due.
      if (renewals === this.#renewalsAskedFor) this.#renewAt = clock.now() + ttlMs / 3 - Math.min(lookMs, ttlMs / 6);
    }
    this.#failing = !succeeded;
  }

  async #deregister(): Promise<void> {
    this.#state = 'unknown';
    if (!(await this.#request('DELETE'))) return;
    this.#state = 'out';
    this.options.logger.info('deregistered');
  }

  async #request(method: 'PUT' | 'DELETE', body?: object): Promise<boolean> {
    const { link, service, instance } = this.options;
    const { url } = link;
    try {
      const answer = await link.ask(url, `/v1/registry/${encodeURIComponent(service)}/${encodeURIComponent(instance)}`, {
        method,
        signal: AbortSignal.timeout(requestTimeoutMs),
        ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      answer.discard();
      return isSuccess(answer.status);
    } catch {
      link.failed(url);
      return false;
    }
  }
}
