import { systemClock, type Clock } from '../../shared/clock/clock.js';
import { DeadlineSweep } from '../../shared/clock/deadline-sweep.js';
import { upstreamSchema } from '../../shared/config/sections.js';
import { tcpListenerSchema } from '../../shared/config/tcp.js';
import type { Exchange } from '../../shared/http/exchange.js';
import type { OnRefusal } from '../../shared/listener/connection-limits.js';
import type { OnBadHeader } from '../../shared/listener/proxy-protocol.js';
import { failover } from '../../shared/tcp/failover.js';
import { TcpListener } from '../../shared/tcp/tcp-listener.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import { ServerCredentials } from '../../shared/tls/server-credentials.js';
import { guardEndpoint } from '../../shared/upstream/endpoint-stack.js';
import type { UpstreamWatches } from '../../shared/upstream/health/upstream-watches.js';
import { Upstream } from '../../shared/upstream/upstream.js';

export interface TestTcp {
  readonly port: number;
  readonly listener: TcpListener;
  readonly upstream: Upstream;
  /** Connections that are over, oldest first, once there are `count` of them. */
  untilOver(count: number): Promise<Exchange[]>;
  close(): Promise<void>;
}

export interface TestTcpOptions {
  readonly listener?: object;
  readonly listen?: object;
  readonly upstream?: object;
  readonly clock?: Clock;
  readonly isOwnAddress?: (host: string, port: number) => boolean;
  readonly onRefusal?: OnRefusal;
  readonly onBadHeader?: OnBadHeader;
}

/** A TCP listener and its upstream, with neither process nor configuration file around them. */
export async function startTcp(endpoints: readonly (string | number)[], options: TestTcpOptions = {}): Promise<TestTcp> {
  const { clock = systemClock } = options;
  const config = tcpListenerSchema.parse({ listen: { port: 0, ...options.listen }, upstream: 'origin', ...options.listener });
  const sweep = new DeadlineSweep(clock, [200]);
  const pems = new PemStore(clock);
  const upstream = new Upstream(
    'origin',
    upstreamSchema.parse({ endpoints: endpoints.map((endpoint) => (typeof endpoint === 'number' ? `127.0.0.1:${endpoint}` : endpoint)), balance: { algorithm: 'round-robin' }, ...options.upstream }),
    {
      clock, sweep, random: () => 0, pems, isOwnAddress: options.isOwnAddress,
      guard: (endpoint, name, guarded) => guardEndpoint(endpoint, name, guarded, { clock, onTransition: () => {}, watches: { get: () => undefined } as unknown as UpstreamWatches, count: () => () => {} }),
    },
  );
  const over: Exchange[] = [];
  let wake: (() => void) | undefined;
  const service = failover(config.connectAttempts, () => upstream.endpoints.length)(upstream.streamOver(config.subset));
  const listener = new TcpListener({
    config,
    credentials: config.listen.tls && new ServerCredentials(config.listen.tls, { clock, pems, ticketSecret: Buffer.alloc(32, 's'), onReload: () => {} }),
    clock,
    open: () => service,
    onRefusal: options.onRefusal,
    onBadHeader: options.onBadHeader,
    onOpen: () => {},
    onOver: ({ exchange }) => {
      over.push(exchange);
      wake?.();
    },
  });
  const { port } = await listener.listen();
  return {
    port, listener, upstream,
    async untilOver(count) {
      while (over.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return over;
    },
    async close() {
      await listener.close();
      upstream.retire();
      sweep.close();
      pems.close();
    },
  };
}
