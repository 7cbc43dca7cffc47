import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What a publisher counts. */
export interface PublishMetrics {
  sent(bytes: number): void;
  /** A change was accepted by a proxy `ms` after it was made. */
  pushed(ms: number): void;
  /** One snapshot was compiled, for all the proxies that it is the same for. */
  compiled(ms: number): void;
}

/** Numbers of proxies, read when they are collected. */
interface ProxyCounts {
  readonly connected: number;
  readonly rejecting: number;
}

/** The publisher's metrics in Prometheus. */
export function publishMetrics(registry: Registry, counts: () => ProxyCounts): PublishMetrics {
  const registers = [registry];
  new Gauge({ name: 'control_plane_proxies_connected', help: 'Proxies with an open stream.', registers, collect() { this.set(counts().connected); } });
  new Gauge({ name: 'control_plane_proxies_rejecting', help: 'Connected proxies that rejected their newest snapshot, or parts of it.', registers, collect() { this.set(counts().rejecting); } });
  const sent = new Counter({ name: 'control_plane_snapshots_sent_total', help: 'Snapshots sent to proxies.', registers });
  const bytes = new Counter({ name: 'control_plane_snapshot_bytes_total', help: 'Bytes of the snapshots sent to proxies.', registers });
  const push = new Histogram({ name: 'control_plane_push_seconds', help: 'Time from a change to its acceptance by a proxy.', buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10], registers });
  const compile = new Histogram({ name: 'control_plane_compile_seconds', help: 'Time to compile one snapshot, which all proxies get that it is the same for.', buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25], registers });
  return {
    sent(size) {
      sent.inc();
      bytes.inc(size);
    },
    pushed: (ms) => push.observe(ms / 1_000),
    compiled: (ms) => compile.observe(ms / 1_000),
  };
}
