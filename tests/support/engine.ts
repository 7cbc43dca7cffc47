import { systemClock, type Clock } from '../../shared/clock/clock.js';
import { DeadlineSweep } from '../../shared/clock/deadline-sweep.js';
import { limitsSchema, upstreamSchema, type LimitsConfig, type UpstreamConfig } from '../../shared/config/sections.js';
import { formatAddress, type Address } from '../../shared/config/units.js';
import { WholeBody } from '../../shared/http/body.js';
import type { Exchange } from '../../shared/http/exchange.js';
import { Headers } from '../../shared/http/headers.js';
import type { Layer, Service } from '../../shared/http/service.js';
import { toProxyError } from '../../shared/errors/proxy-error.js';
import { FastifyListener } from '../../shared/listener/fastify/fastify-listener.js';
import { Http1Listener, type ListenAddress } from '../../shared/listener/http1-listener.js';
import { http2 } from '../../shared/listener/http2/http2.js';
import type { OnBadHeader } from '../../shared/listener/proxy-protocol.js';
import type { ServerTlsConfig } from '../../shared/tls/config.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import { ServerCredentials } from '../../shared/tls/server-credentials.js';
import { Upstream } from '../../shared/upstream/upstream.js';

export interface TestEngine {
  readonly port: number;
  readonly listener: Http1Listener | FastifyListener;
  readonly upstream: Upstream;
  readonly pems: PemStore;
  /** Exchanges that are over, oldest first. */
  readonly finished: Exchange[];
  /** Resolves once `count` exchanges are over. */
  untilFinished(count: number): Promise<Exchange[]>;
  close(): Promise<void>;
}

export interface TestEngineOptions {
  readonly limits?: Partial<LimitsConfig>;
  readonly upstream?: Partial<UpstreamConfig>;
  readonly listen?: ListenAddress;
  readonly tls?: ServerTlsConfig;
  /** By which certificates of clients are judged; the machine's, unless another is given. */
  readonly wallClock?: Pick<Clock, 'wallNow'>;
  /** The engine's own, unless another is asked for. */
  readonly kind?: typeof Http1Listener | typeof FastifyListener;
  readonly onFlood?: (reason: string) => void;
  readonly onBadHeader?: OnBadHeader;
  /** Stands in front of the upstream. */
  readonly layer?: Layer;
  /** Where the engine runs. */
  readonly zone?: string;
}

/** The engine alone: a listener, an upstream, and errors as plain answers whose body is the code. */
export async function startEngine(endpoints: readonly Address[], options: TestEngineOptions = {}): Promise<TestEngine> {
  const limits = { ...limitsSchema.parse({}), ...options.limits };
  const config = { ...upstreamSchema.parse({ endpoints: endpoints.map(formatAddress) }), ...options.upstream };
  const sweep = new DeadlineSweep(systemClock, [config.connectTimeout, config.idleTimeout, config.bodyIdleTimeout]);
  const pems = new PemStore(systemClock);
  const upstream = new Upstream('origin', config, { clock: systemClock, sweep, random: Math.random, pems, zone: options.zone, guard: () => {} });
  const finished: Exchange[] = [];
  let wake: (() => void) | undefined;
  const observed = (service: Service): Service =>
    async function observed(request, exchange) {
      exchange.onFinish((over) => {
        finished.push(over);
        wake?.();
      });
      try {
        return await service(request, exchange);
      } catch (thrown) {
        const error = toProxyError(thrown);
        exchange.errorCode = error.code;
        return { status: error.entry.status, headers: Headers.of({ 'X-Detail': (error.cause instanceof Error ? error.cause.message : '').replace(/[^ -~]/g, '?') }), body: new WholeBody(Buffer.from(error.code)) };
      }
    };
  const inner: Service = (request, exchange) => upstream.balance(request, exchange);
  const listener = new (options.kind ?? Http1Listener)({
    name: 'test',
    listen: { host: '127.0.0.1', port: 0, ...options.listen },
    credentials: options.tls && new ServerCredentials(options.tls, { clock: options.wallClock ?? systemClock, pems, ticketSecret: Buffer.alloc(32, 's'), onReload: () => {} }),
    limits,
    http2: options.listen?.http2 === 'engine' ? http2 : undefined,
    onFlood: options.onFlood,
    onBadHeader: options.onBadHeader,
    clock: systemClock,
    service: observed(options.layer === undefined ? inner : options.layer(inner)),
    refuse: observed((request) => Promise.reject(request.cancellation.reason)),
  });
  const { port } = await listener.listen();
  return {
    port,
    listener,
    upstream,
    pems,
    finished,
    async untilFinished(count) {
      while (finished.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return finished;
    },
    async close() {
      await listener.close();
      for (const endpoint of upstream.endpoints) endpoint.pool.destroy();
      sweep.close();
      pems.close();
    },
  };
}
