import type { AddressInfo } from 'node:net';
import type { ProxyMetrics } from '../../telemetry/proxy-metrics.js';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';

/** A proxy as the front of its process sees it, whether it runs there or in several workers. */
export interface Fleet<Config, Dynamic> {
  /** What the front itself counts. */
  readonly metrics: ProxyMetrics;
  /** Brings the proxy up, with no port open yet. */
  create(): Promise<void>;
  /** Opens the listeners; resolves with the addresses they took. */
  listen(): Promise<Readonly<Record<string, AddressInfo>>>;
  /** Whether anybody serves. */
  isServing(): boolean;
  /** Exchanges routes, policies and upstreams. Rejects, and changes nothing, if the new ones cannot be built. */
  apply(dynamic: Dynamic): Promise<void>;
  /** Exchanges the whole configuration, as far as that is possible; rejects with what is in the way. */
  reload(config: Config): Promise<void>;
  /** Has the identity's files looked at now, by everybody who shows it; resolves when they have. Call it when they were renewed. */
  refreshIdentity(): Promise<void>;
  upstreams(): Promise<UpstreamDescription[]>;
  /** Every metric, in Prometheus's text format. */
  collect(): Promise<Buffer>;
  drain(): Promise<void>;
  close(): Promise<void>;
}
