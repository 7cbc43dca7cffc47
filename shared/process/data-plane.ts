import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.js';
import { onceAMinute } from '../clock/once-a-minute.js';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import type { IdentityConfig } from '../config/identity.js';
import { LastKnown } from '../config/last-known.js';
import type { MtlsMode } from '../config/mtls.js';
import type { DiscoverDependencies } from '../discovery/discover.js';
import { reasonOf } from '../errors/reason.js';
import { rescue } from '../errors/rescue.js';
import type { Layer } from '../http/service.js';
import { identityFiles } from '../identity/identity-files.js';
import { MeshClient, withoutIdentity, type MeshClientFactory } from '../identity/mesh-client.js';
import { MeshIdentity } from '../identity/mesh-identity.js';
import type { OnRefusal } from '../listener/connection-limits.js';
import type { MeshListening } from '../listener/mesh-door.js';
import type { OnBadHeader } from '../listener/proxy-protocol.js';
import { Policies } from '../policy/policies.js';
import type { QuotaCounter } from '../policy/rate-limit/rate-limit.js';
import { accessLog } from '../telemetry/access-log.js';
import { openLineWriter, type LineWriter } from '../telemetry/line-writer.js';
import type { Logger } from '../telemetry/logger.js';
import { MtlsReport } from '../telemetry/mtls-report.js';
import { NamesInUse } from '../telemetry/names-in-use.js';
import { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { refusalReport } from '../telemetry/refusal-report.js';
import { tcpAccessLog } from '../telemetry/tcp-access-log.js';
import { TcpMetrics } from '../telemetry/tcp-metrics.js';
import type { TcpConnection } from '../tcp/tcp-connection.js';
import { OwnAddresses } from './own-addresses.js';
import type { ServerTlsConfig } from '../tls/config.js';
import { PemStore } from '../tls/pem-store.js';
import { ServerCredentials } from '../tls/server-credentials.js';
import { UpstreamWatches } from '../upstream/health/upstream-watches.js';
import { guardEndpoint } from '../upstream/endpoint-stack.js';
import type { UpstreamDependencies } from '../upstream/upstream.js';

/** The outermost layers, the same for every listener of both proxies. */
interface CommonLayers {
  readonly accessLog: Layer | undefined;
  readonly metrics: Layer;
  readonly rescue: Layer;
}

interface DataPlaneOptions {
  readonly accessLog: boolean;
  /** Where this proxy runs. */
  readonly zone?: string | undefined;
  /** Who it is in the mesh. */
  readonly identity?: IdentityConfig | undefined;
  /** Where the access log goes, and whether other processes write theirs there too; default: descriptor 1, which is its own. */
  readonly stdout?: { readonly descriptor: number; readonly isShared: boolean };
  /** What it counts is added up with what others do (see `ProxyMetrics`). */
  readonly keepsSeries?: boolean;
  /** Where quotas are counted; default: here. */
  readonly counter?: QuotaCounter;
  /** Of which the keys of TLS session tickets are made; default: a random one. */
  readonly ticketSecret?: Uint8Array;
  /** What those before it have learned; default: there was nobody. */
  readonly lastKnown?: LastKnown;
}

/** What both proxies stand on: clocks, metrics, logs, and how policies and endpoints are made from them. */
export class DataPlane {
  readonly metrics: ProxyMetrics;
  readonly dependencies: UpstreamDependencies & { readonly policies: Policies; readonly watches: UpstreamWatches; readonly routes: NamesInUse; readonly discovery: DiscoverDependencies };
  /** Tells this proxy from all others, and is the same in all of its workers. */
  readonly instance: string;
  readonly #ticketSecret: Uint8Array;
  readonly #pems: PemStore;
  #mesh: { readonly identity: MeshIdentity; readonly report: MtlsReport } | undefined;
  readonly #sweep: DeadlineSweep;
  /** Where the listeners of this process are, once they listen. */
  readonly ownAddresses = new OwnAddresses();
  readonly #accessLog: Layer | undefined;
  readonly #lines: LineWriter | undefined;
  #tcpMetrics: TcpMetrics | undefined;
  /** Those that series are labelled with, each as JSON of its upstream and its address. */
  readonly endpoints: Pick<NamesInUse, 'all'>;
  readonly #close: () => void;

  constructor(
    readonly clock: Clock,
    readonly logger: Logger,
    options: DataPlaneOptions,
  ) {
    this.metrics = new ProxyMetrics(options);
    this.#ticketSecret = options.ticketSecret ?? randomBytes(32);
    this.instance = createHash('sha256').update(this.#ticketSecret).update('instance').digest('base64url').slice(0, 8);
    const random = Math.random; // eslint-disable-line no-restricted-properties -- this is where chance enters
    const { metrics } = this;
    const onTransition = (upstream: string, endpoint: string, state: 'closed' | 'open' | 'half-open'): void => {
      metrics.breakerTransition(upstream, endpoint, state);
      logger.info({ upstream, endpoint, state }, 'breaker');
    };
    const onPanic = (upstream: string, isPanic: boolean): void => {
      if (isPanic) logger.warn({ upstream }, 'too few endpoints are healthy: health is ignored');
      else logger.info({ upstream }, 'enough endpoints are healthy again');
    };
    const onTlsReload = (upstream: string, error: Error | undefined): void => {
      metrics.certificateReload(error === undefined ? 'used' : 'refused');
      if (error === undefined) logger.info({ upstream }, 'the certificates of an upstream were exchanged');
      else logger.error({ upstream, reason: error.message }, 'the new certificates of an upstream cannot be used; the old ones stay');
    };
    const sweep = new DeadlineSweep(clock, []);
    this.#sweep = sweep;
    this.#pems = new PemStore(clock);
    const watches = new UpstreamWatches(metrics.registry, { clock, random, logger });
    // An endpoint whose upstream has new settings is made anew, and counts where the one before did.
    const endpoints = new NamesInUse((key) => {
      const [upstream, endpoint] = JSON.parse(key) as [string, string];
      metrics.forgetEndpoint(upstream, endpoint);
      watches.metrics.forgetEndpoint(upstream, endpoint);
    });
    this.endpoints = endpoints;
    const { lastKnown = new LastKnown() } = options;
    const count = (upstream: string, endpoint: string): (() => void) => endpoints.use(JSON.stringify([upstream, endpoint]));
    this.dependencies = {
      clock,
      pems: this.#pems,
      sweep,
      random,
      zone: options.zone,
      isOwnAddress: this.ownAddresses.has,
      meshClient: this.#openMesh(options.identity),
      routes: metrics.routes,
      watch: (upstream) => {
        const ends = [metrics.upstreamPanic.watch(upstream), metrics.upstreams.use(upstream.name)];
        return () => ends.forEach((end) => end());
      },
      onPanic,
      onTlsReload,
      guard: (endpoint, upstream, config) => guardEndpoint(endpoint, upstream, config, { clock, onTransition, watches, count }),
      watches,
      discovery: { clock, random, logger, metrics: watches.metrics, lastKnown },
      policies: new Policies({ clock, random, logger, metrics, pems: this.#pems, counter: options.counter, lastKnown }),
    };
    const lines = options.accessLog ? openLineWriter(options.stdout?.descriptor ?? 1, { clock, isShared: options.stdout?.isShared, onLost: this.#lostLines() }) : undefined;
    this.#lines = lines?.writer;
    this.#accessLog = lines && accessLog(lines.writer, { clock });
    this.#close = () => lines?.close();
  }

  /** Looks at the files of the identity, and at all other certificates and key sets, now instead of in a few seconds. */
  refreshIdentity(): Promise<void> {
    return this.#pems.refresh();
  }

  /** How a listener takes part in the mesh; undefined where this proxy has no identity. */
  meshListening(listener: string, mode: () => MtlsMode): MeshListening | undefined {
    if (this.#mesh === undefined) return undefined;
    const { identity, report } = this.#mesh;
    return { identity, mode, onRefusal: (client, refusal) => report.refused(listener, client, refusal) };
  }

  #openMesh(config: IdentityConfig | undefined): MeshClientFactory {
    if (config === undefined) return withoutIdentity;
    const { clock, logger, metrics } = this;
    const identity: MeshIdentity = new MeshIdentity(identityFiles(config), {
      clock,
      pems: this.#pems,
      ticketSecret: this.#ticketSecret,
      isAwaited: 'directory' in config,
      onReload: (error) => {
        if (error !== undefined) logger.error({ reason: error.message }, 'the identity cannot be used; the one before stays, if there is one');
        else logger.info({ identity: identity.own?.id, expires: new Date(identity.expiresAt!).toISOString() }, 'the identity was exchanged');
        metrics.certificateReload(error === undefined ? 'used' : 'refused');
      },
    });
    const report = new MtlsReport({ registry: metrics.registry, logger, clock, expiresAt: () => identity.expiresAt });
    this.#mesh = { identity, report };
    return (upstream, endpoint, expected) => new MeshClient({ expected, identity, onFailure: (failure) => report.failed(upstream, endpoint, expected, failure) });
  }

  layers(listener: string): CommonLayers {
    return {
      accessLog: this.#accessLog,
      metrics: this.metrics.requests(listener),
      rescue: rescue({
        onError: (error, exchange) => {
          // Refusals and upstream failures are in the access log; here go the defects. What hangs on a cause is not for a log: whole certificates.
          if (error.code === 'internal') this.logger.error({ err: error.cause, requestId: exchange.requestId }, 'a request failed for a reason of our own');
          else this.logger.debug({ code: error.code, reason: reasonOf(error), requestId: exchange.requestId }, 'a request failed');
        },
      }),
    };
  }

  /** Throws if the files cannot be used, which the check of the configuration has seen before. */
  serverCredentials(config: ServerTlsConfig): ServerCredentials {
    return new ServerCredentials(config, {
      clock: this.clock,
      pems: this.#pems,
      ticketSecret: this.#ticketSecret,
      onReload: (error) => {
        this.metrics.certificateReload(error === undefined ? 'used' : 'refused');
        if (error === undefined) this.logger.info('certificates were exchanged');
        else this.logger.error({ reason: error.message }, 'the new certificates cannot be used; the old ones stay');
      },
    });
  }

  /** What hears of TCP connections: the metrics, and the log. A process that has none has no metrics of them. */
  tcp(): { readonly onOpen: (connection: TcpConnection) => void; readonly onOver: (connection: TcpConnection) => void } {
    const metrics = (this.#tcpMetrics ??= new TcpMetrics(this.metrics.registry));
    const log = this.#lines && tcpAccessLog(this.#lines, this.clock);
    return {
      onOpen: (connection) => metrics.opened(connection),
      onOver: (connection) => {
        metrics.over(connection);
        log?.(connection);
      },
    };
  }

  #lostLines(): (lines: number) => void {
    const mayTell = onceAMinute(this.clock);
    return (lines) => {
      this.metrics.accessLogLost(lines);
      if (mayTell()) this.logger.warn('lines of the access log are lost: its reader does not keep up, or its disk is full');
    };
  }

  connectionGauge(listener: string): (delta: 1 | -1) => void {
    return this.metrics.connectionGauge(listener);
  }

  /** What a listener reports when it turns a connection away. */
  refusalReport(listener: string): OnRefusal {
    return refusalReport(listener, this);
  }

  /** What a listener reports when a peer that is listed does not begin with the PROXY protocol: likewise. */
  badHeaderReport(listener: string): OnBadHeader {
    const mayTell = onceAMinute(this.clock);
    return (reason, peer) => {
      this.metrics.badProxyHeader(listener);
      if (mayTell()) this.logger.warn({ listener, peer, reason }, 'a peer of proxyProtocol does not begin with a header of it: its connections are closed');
    };
  }

  /** What a listener reports when it closes a connection of HTTP/2 that floods it. */
  floodReport(listener: string): (reason: 'resets' | 'control_frames', clientAddress: string) => void {
    const mayTell = onceAMinute(this.clock);
    return (reason, clientAddress) => {
      this.metrics.http2Flood(listener, reason);
      if (mayTell()) this.logger.warn({ listener, reason, client: clientAddress }, 'a connection that floods was closed');
    };
  }

  close(): void {
    this.#sweep.close();
    this.#pems.close();
    this.#close();
  }
}
