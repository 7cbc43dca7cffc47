import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { EtcdClient } from './etcd-client.js';

interface EtcdSessionOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  /** How long the session outlives its last renewal (ms). */
  readonly ttlMs: number;
  /** Puts what hangs on the lease. Runs for each new lease; what rejects is tried again. */
  readonly onLease: (lease: string) => Promise<void>;
  /** A renewal succeeded. */
  readonly onRenewed?: () => void;
  /** The lease may have ended: others may think so from now on. */
  readonly onLapsed?: () => void;
}

/**
 * A lease that is renewed as long as this process lives.
 *
 * `isValid` counts from when the last successful renewal was *sent*, on this clock: etcd counts from when it arrived, which is later. So a
 * process that was stopped, or cut off, knows that its time is over before anybody else acts on it.
 * An etcd that was away extends leases when it is back, so the old one is tried first, and a new one taken when it is gone.
 */
export class EtcdSession {
  #lease: string | undefined;
  #isPut = false;
  #validUntil = Number.NEGATIVE_INFINITY;
  #wasValid = false;
  #timer: Timer | undefined;
  #beating: Promise<void> | undefined;
  #closed = false;

  constructor(private readonly options: EtcdSessionOptions) {
    this.#beat();
  }

  get lease(): string | undefined {
    return this.#lease;
  }

  get isValid(): boolean {
    return !this.#closed && this.options.clock.now() < this.#validUntil;
  }

  /** Ends the lease, and what hangs on it. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#beating;
    if (this.#lease !== undefined) await this.options.client.revoke(this.#lease);
  }

  #beat(): void {
    this.#beating = this.#renew().then((succeeded) => {
      const { clock, ttlMs, onLapsed } = this.options;
      if (this.#wasValid && !this.isValid) onLapsed?.();
      this.#wasValid = this.isValid;
      if (this.#closed) return;
      const untilLapse = this.#wasValid ? Math.max(1, this.#validUntil - clock.now()) : Number.POSITIVE_INFINITY;
      this.#timer = clock.after(Math.min(succeeded ? ttlMs / 3 : Math.min(ttlMs / 6, 500), untilLapse), () => this.#beat());
    });
  }

  /** Resolves with whether it succeeded; never rejects. */
  async #renew(): Promise<boolean> {
    const { client, clock, ttlMs, onLease, onRenewed } = this.options;
    const sentAt = clock.now();
    try {
      if (this.#lease !== undefined && !(await client.keepAlive(this.#lease))) this.#lease = undefined;
      if (this.#lease === undefined) {
        this.#isPut = false;
        this.#lease = (await client.grant(ttlMs)).id;
      }
      if (!this.#isPut) await onLease(this.#lease);
      this.#isPut = true;
      this.#validUntil = sentAt + ttlMs;
      this.#wasValid = true;
      onRenewed?.();
      return true;
    } catch {
      // The client has said why; the next beat tries again.
      return false;
    }
  }
}
