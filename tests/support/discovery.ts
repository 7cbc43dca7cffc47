import { FakeClock } from '../../shared/clock/fake-clock.js';
import type { EndpointConfig } from '../../shared/config/endpoints.js';
import { formatAddress } from '../../shared/config/units.js';
import type { DiscoveryFailure, DiscoveryListener, DiscoverySource } from '../../shared/discovery/source.js';

type DiscoveryEvent =
  | { readonly kind: 'found'; readonly endpoints: readonly EndpointConfig[]; readonly addresses: readonly string[] }
  | { readonly kind: 'failed'; readonly failure: DiscoveryFailure }
  | { readonly kind: 'ignored'; readonly details: readonly string[] };

/** Hears what a source says, and lets the test wait for it: its I/O is real, its clock is not. */
export class DiscoveryEvents implements DiscoveryListener {
  readonly clock = new FakeClock();
  readonly all: DiscoveryEvent[] = [];
  #taken = 0;
  #wake: (() => void) | undefined;

  start(source: DiscoverySource): void {
    source.start(this);
  }

  found(endpoints: readonly EndpointConfig[]): void {
    this.#push({ kind: 'found', endpoints, addresses: endpoints.map(({ address }) => formatAddress(address)) });
  }

  failed(failure: DiscoveryFailure): void {
    this.#push({ kind: 'failed', failure });
  }

  ignored(details: readonly string[]): void {
    this.#push({ kind: 'ignored', details });
  }

  /** The next event of this kind that was not taken yet; those before it are passed over. */
  async next<K extends DiscoveryEvent['kind']>(kind: K): Promise<Extract<DiscoveryEvent, { kind: K }>> {
    for (;;) {
      const event = this.all[this.#taken];
      if (event === undefined) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      this.#taken++;
      if (event.kind === kind) return event as Extract<DiscoveryEvent, { kind: K }>;
    }
  }

  /** Turns the clock until an event of this kind comes, in steps that leave time for I/O. */
  async turnUntil<K extends DiscoveryEvent['kind']>(kind: K, stepMs: number): Promise<Extract<DiscoveryEvent, { kind: K }>> {
    for (;;) {
      for (; this.#taken < this.all.length; ) {
        const event = this.all[this.#taken++]!;
        if (event.kind === kind) return event as Extract<DiscoveryEvent, { kind: K }>;
      }
      await this.clock.advance(stepMs);
    }
  }

  #push(event: DiscoveryEvent): void {
    this.all.push(event);
    this.#wake?.();
  }
}
