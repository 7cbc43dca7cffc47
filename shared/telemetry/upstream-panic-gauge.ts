import { Gauge, type Registry } from 'prom-client';

interface Watched {
  readonly name: string;
  isPanic(): boolean;
}

/** Asks the upstreams that live when it is collected: without traffic nobody else would notice that a panic is over. */
export class UpstreamPanicGauge {
  readonly #watched = new Set<Watched>();

  constructor(registry: Registry) {
    const watched = this.#watched;
    new Gauge({
      name: 'proxy_upstream_panic',
      help: '1 while so few endpoints of an upstream are healthy that health is ignored.',
      labelNames: ['upstream'],
      aggregator: 'max',
      registers: [registry],
      collect() {
        this.reset();
        const panics = new Map<string, boolean>();
        // Of one name there are two while a new configuration takes over.
        for (const upstream of watched) panics.set(upstream.name, upstream.isPanic() || panics.get(upstream.name) === true);
        for (const [upstream, isPanic] of panics) this.set({ upstream }, isPanic ? 1 : 0);
      },
    });
  }

  /** Returns what ends the watch. */
  watch(upstream: Watched): () => void {
    this.#watched.add(upstream);
    return () => this.#watched.delete(upstream);
  }
}
