import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { ErrorCode } from '../errors/catalogue.js';
import type { Exchange } from '../http/exchange.js';
import type { Layer } from '../http/service.js';
import type { FaultEvent } from '../policy/fault/fault.js';
import type { MirrorOutcome } from '../policy/mirror/mirror.js';
import { DurationHistogram, type DurationSeries } from './duration-histogram.js';
import { NamesInUse } from './names-in-use.js';
import { RetiringSeries } from './retiring-series.js';
import { UpstreamPanicGauge } from './upstream-panic-gauge.js';

const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);
/** OpenTelemetry's advice for http.server.request.duration, in seconds. */
const durationBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Plain numbers, which the metrics read when they are collected: even a bound child hashes its labels each time. */
interface Tally {
  connections: number;
  inFlight: number;
  requestBytes: number;
  responseBytes: number;
}

/** Attempts at one upstream. */
interface Attempts {
  readonly name: string;
  count: number;
}

/** Names that no configuration has: of what has no route, and of hosts that a sidecar does not know. */
const alwaysInUse = ['', 'passthrough'];

/**
 * What a proxy counts. Names follow OpenTelemetry's HTTP conventions, and `proxy_*` where those have none. On the hot
 * path only children are used that were bound to their labels before, which costs a tenth of looking them up. Durations and calls of a route, attempts and
 * retries of an upstream, and what is labelled with an endpoint go some time after the configuration that named them.
 */
export class ProxyMetrics {
  readonly registry = new Registry();
  /** Those of the versions of the configuration that are alive. */
  readonly routes = new NamesInUse();
  readonly upstreams = new NamesInUse();
  readonly #duration = new DurationHistogram('http_server_request_duration_seconds', 'Time from the first byte of a request to the last of its response.', durationBuckets, this.registry, { names: { has: (name) => this.#keepsSeries || this.routes.has(name) }, onGone: (route) => this.#forgetRoute(route) });
  readonly #errors = this.#counter('proxy_errors_total', 'Exchanges that this proxy answered or broke off with an error, by its code.', ['listener', 'code']);
  readonly #retries = this.#counter('proxy_retries_total', 'Retries made, and retries that the budget refused.', ['upstream', 'outcome']);
  readonly #transitions = this.#counter('proxy_breaker_transitions_total', 'Changes of a breaker, by the state it went to.', ['upstream', 'endpoint', 'state']);
  readonly #rateLimited = this.#counter('proxy_rate_limit_decisions_total', 'Requests beyond a quota, and requests whose quota could not be checked.', ['scope', 'decision']);
  readonly #keySets = this.#counter('proxy_key_set_fetches_total', 'Fetches of an issuer’s keys, and changes of files with keys, by result.', ['result']);
  readonly #certificates = this.#counter('proxy_certificate_reloads_total', 'Exchanges of certificates, by whether the new files could be used.', ['result']);
  readonly #faults = this.#counter('proxy_faults_injected_total', 'Requests that were held or aborted on purpose, and those that were to be held but for the limit.', ['type']);
  readonly #mirrored = this.#counter('proxy_mirrored_total', 'Requests that were to be copied to an upstream, by what became of the copy.', ['upstream', 'outcome']);
  readonly #controlPlane = this.#gauge('proxy_control_plane_connected', '1 while the stream of the control plane is open.', []);
  readonly #workerExits = this.#counter('proxy_worker_exits_total', 'Workers that ended without having been told to, and were replaced.', []);
  readonly upstreamPanic = new UpstreamPanicGauge(this.registry);
  readonly #refused = this.#counter('proxy_connections_refused_total', 'Connections that were closed as they came, since a limit of connections was reached, or descriptors ran out. The listener is `front` where a worker could not take what its front had for it.', ['listener', 'limit']);
  readonly #badHeaders = this.#counter('proxy_protocol_refused_total', 'Connections that were closed because they did not begin with a PROXY protocol header, or with a wrong one, and should have.', ['listener']);
  readonly #lostLines = this.#counter('proxy_access_log_lost_lines_total', 'Lines of the access log that were lost because its reader did not keep up, or its disk was full.', []);
  readonly #floods = this.#counter('proxy_http2_floods_total', 'Connections of HTTP/2 that were closed because their client sent too many resets or control frames.', ['listener', 'reason']);
  readonly #grpcCalls = this.#counter('proxy_grpc_calls_total', 'Calls of gRPC, by the status they ended with.', ['listener', 'http_route', 'rpc_grpc_status_code']);
  readonly #tallies = new Map<string, Tally>();
  readonly #attempts = new Map<string, Attempts>();
  readonly #allAttempts = new RetiringSeries<Attempts>({ has: (name) => this.#keepsSeries || this.upstreams.has(name) }, (name) => this.#forgetUpstream(name));
  /** What a listener's layer remembers of a route. */
  readonly #forgetters = new Set<(route: string) => void>();

  readonly #keepsSeries: boolean;

  /** `keepsSeries`: those of names that are not in use any more stay, as where several processes are added up: each would drop them at its own time, and the sums go down. */
  constructor({ keepsSeries = false }: { readonly keepsSeries?: boolean | undefined } = {}) {
    this.#keepsSeries = keepsSeries;
    for (const name of alwaysInUse) for (const names of [this.routes, this.upstreams]) names.use(name);
    // Event loop lag sampled every 100 ms: at the default of 10 ms an idle proxy would wake 100 times a second for it.
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 100 });
    this.#exposeTallies();
  }

  /** Measures every exchange; stands at the outside of a stack. */
  requests(listener: string): Layer {
    const tally = this.#tally(listener);
    // By route, method and status: all of them from a small set, so these are three look-ups of strings that were seen before.
    const byRoute = new Map<string, Map<string, DurationSeries[]>>();
    const seriesOf = (route: string, method: string, status: number): DurationSeries => {
      const known = knownMethods.has(method) ? method : '_OTHER';
      let byMethod = byRoute.get(route);
      if (byMethod === undefined) byRoute.set(route, (byMethod = new Map<string, DurationSeries[]>()));
      let byStatus = byMethod.get(known);
      if (byStatus === undefined) byMethod.set(known, (byStatus = []));
      return (byStatus[status] ??= this.#durationSeries(listener, route, known, status));
    };
    // Most are like the one before.
    const none = { route: '', method: '', status: NaN, series: undefined as DurationSeries | undefined };
    let last = none;
    this.#forgetters.add((route) => {
      byRoute.delete(route);
      last = none;
    });
    const measure = (over: Exchange): void => {
      tally.inFlight--;
      tally.requestBytes += over.requestBytes;
      tally.responseBytes += over.responseBytes;
      const { route = '', status } = over;
      const { method } = over.request!;
      if (route !== last.route || method !== last.method || status !== last.status) last = { route, method, status, series: seriesOf(route, method, status) };
      last.series!.observe((over.finishedAt! - over.startedAt) / 1_000);
      if (over.errorCode !== undefined) this.#errors.inc({ listener, code: over.errorCode satisfies ErrorCode });
      if (over.attempts > 0) this.#attemptsAt(over.upstream!).count += over.attempts;
    };
    return (next) =>
      function metrics(request, exchange) {
        tally.inFlight++;
        exchange.onFinish(measure);
        return next(request, exchange);
      };
  }

  connectionGauge(listener: string): (delta: 1 | -1) => void {
    const tally = this.#tally(listener);
    return (delta) => {
      tally.connections += delta;
    };
  }

  retryEvent(upstream: string, outcome: 'retried' | 'budget_exhausted'): void {
    this.#retries.inc({ upstream, outcome });
  }

  breakerTransition(upstream: string, endpoint: string, state: 'closed' | 'open' | 'half-open'): void {
    this.#transitions.inc({ upstream, endpoint, state });
  }

  /** What is labelled with an endpoint goes with it. */
  forgetEndpoint(upstream: string, endpoint: string): void {
    for (const state of ['closed', 'open', 'half-open']) this.#transitions.remove({ upstream, endpoint, state });
  }

  rateLimitEvent(scope: string, event: 'limited' | 'store_failed', failOpen: boolean): void {
    this.#rateLimited.inc({ scope, decision: event === 'limited' ? 'limited' : failOpen ? 'failed_open' : 'failed_closed' });
  }

  keySetEvent(result: 'fetched' | 'stale' | 'unavailable'): void {
    this.#keySets.inc({ result });
  }

  faultEvent(type: FaultEvent): void {
    this.#faults.inc({ type });
  }

  mirrorOutcome(upstream: string, outcome: MirrorOutcome, attempts: number): void {
    this.#mirrored.inc({ upstream, outcome });
    if (attempts > 0) this.#attemptsAt(upstream).count += attempts;
  }

  certificateReload(result: 'used' | 'refused'): void {
    this.#certificates.inc({ result });
  }

  connectionRefused(listener: string, limit: string): void {
    this.#refused.inc({ listener, limit });
  }

  badProxyHeader(listener: string): void {
    this.#badHeaders.inc({ listener });
  }

  accessLogLost(lines: number): void {
    this.#lostLines.inc(lines);
  }

  http2Flood(listener: string, reason: 'resets' | 'control_frames'): void {
    this.#floods.inc({ listener, reason });
  }

  /** `status` is one of gRPC's seventeen, or undefined when the call ended without any. */
  grpcCall({ listener, route = '' }: Exchange, status: number | undefined): void {
    this.#grpcCalls.inc({ listener, http_route: route, rpc_grpc_status_code: status ?? 'none' });
  }

  workerExit(): void {
    this.#workerExits.inc();
  }

  controlPlaneConnected(isConnected: boolean): void {
    this.#controlPlane.set(isConnected ? 1 : 0);
  }

  #durationSeries(listener: string, route: string, method: string, status: number): DurationSeries {
    return this.#duration.series(route, { listener, http_request_method: method, http_response_status_code: status, http_route: route });
  }

  #attemptsAt(name: string): Attempts {
    let attempts = this.#attempts.get(name);
    if (attempts === undefined) this.#attempts.set(name, (attempts = this.#allAttempts.add({ name, count: 0 })));
    return attempts;
  }

  #forgetRoute(route: string): void {
    for (const forget of this.#forgetters) forget(route);
    for (const listener of this.#tallies.keys()) {
      for (let code = 0; code <= 17; code++) this.#grpcCalls.remove({ listener, http_route: route, rpc_grpc_status_code: code === 17 ? 'none' : code });
    }
  }

  #forgetUpstream(upstream: string): void {
    this.#attempts.delete(upstream);
    for (const outcome of ['retried', 'budget_exhausted']) this.#retries.remove({ upstream, outcome });
  }

  #tally(listener: string): Tally {
    let tally = this.#tallies.get(listener);
    if (tally === undefined) this.#tallies.set(listener, (tally = { connections: 0, inFlight: 0, requestBytes: 0, responseBytes: 0 }));
    return tally;
  }

  #exposeTallies(): void {
    const registers = [this.registry];
    const tallies = this.#tallies;
    const attempts = this.#allAttempts;
    const gauge = (name: string, help: string, key: keyof Tally): Gauge =>
      new Gauge({ name, help, labelNames: ['listener'], registers, collect() { for (const [listener, tally] of tallies) this.set({ listener }, tally[key]); } });
    const counter = (name: string, help: string, key: keyof Tally): Counter =>
      new Counter({ name, help, labelNames: ['listener'], registers, collect() { this.reset(); for (const [listener, tally] of tallies) this.inc({ listener }, tally[key]); } });
    gauge('proxy_requests_in_flight', 'Exchanges in progress.', 'inFlight');
    gauge('proxy_connections', 'Client connections.', 'connections');
    counter('proxy_request_bytes_total', 'Bytes of request bodies.', 'requestBytes');
    counter('proxy_response_bytes_total', 'Bytes of response bodies.', 'responseBytes');
    new Counter({ name: 'proxy_upstream_attempts_total', help: 'Requests sent to endpoints of an upstream, retries and mirrored copies included.', labelNames: ['upstream'], registers, collect() { this.reset(); for (const { name, count } of attempts) this.inc({ upstream: name }, count); attempts.look(); } });
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string, labelNames: string[]): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }
}
