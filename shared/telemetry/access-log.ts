import type { Clock } from '../clock/clock.js';
import { describe } from '../errors/catalogue.js';
import { BoundedMemo } from '../http/bounded-memo.js';
import type { Exchange, Refusal } from '../http/exchange.js';
import { interned } from '../http/interned.js';
import type { Layer } from '../http/service.js';
import { asciiJson, type LineWriter } from './line-writer.js';

/**
 * One JSON line for each exchange, written when the response has been sent or broken off.
 *
 * The line is put together by hand: a generic logger call costs more than the whole rest of this layer, and templates more than sums. The
 * path is logged without its query, since queries carry secrets. What may hold a quotation mark or anything beyond
 * ASCII is escaped; method, authority and request id were validated, and cannot. Parts that come again are made once.
 */
export function accessLog(writer: LineWriter, { clock }: { clock: Clock }): Layer {
  const beginning = beginnings();
  const wallTimeAt = wallTimes(clock);
  const clients = new Memo((address) => `","client":${asciiJson(address)}`);
  const methods = new Memo((method) => `,"method":"${method}","authority":"`);
  const authorities = new Memo((authority) => `${authority}","path":`);
  const names = new NameFields();
  const toLine = (exchange: Exchange): string => {
    const { trace, caller, peer, startedAt, respondedAt, route = '', upstream = '', endpoint = '' } = exchange;
    const { method, authority, path } = exchange.request!;
    const finishedAt = exchange.finishedAt!;
    const particulars = particularsOf(exchange);
    const named = names.of(route, upstream, endpoint);
    const outcome =
      particulars === '' && exchange.attempts === 1
        ? (named.afterOneAttempt[exchange.status] ??= `,"status":${exchange.status}${named.text},"attempts":1`)
        : `,"status":${exchange.status}${particulars}${named.text},"attempts":${exchange.attempts}`;
    const who = caller === undefined ? '' : `,"caller":${asciiJson(caller.subject)}`;
    // Names of workloads are plain ASCII: see spiffe.ts.
    const from = peer === undefined ? '' : `,"peer":"${peer.id}"`;
    const where = trace === undefined ? '' : ',"traceId":"' + trace.traceId + '","spanId":"' + trace.spanId + '"';
    const upstreamTime = respondedAt === undefined ? '}\n' : ',"upstreamMs":' + milliseconds(respondedAt - startedAt) + '}\n';
    const wallTime = wallTimeAt(finishedAt);
    return (
      beginning(wallTime, exchange.listener) + exchange.requestId + clients.of(exchange.clientAddress) + methods.of(method) + authorities.of(authority) + asciiJson(path) + outcome + from + who + where +
      ',"requestBytes":' + count(exchange.requestBytes) + ',"responseBytes":' + count(exchange.responseBytes) + ',"durationMs":' + milliseconds(finishedAt - startedAt) + upstreamTime
    );
  };
  const log = (exchange: Exchange): void => {
    if (hasGoneWell(exchange)) writer.later(exchange, toLine);
    else writer.write(toLine(exchange));
  };
  return (next) =>
    function accessLog(request, exchange) {
      exchange.onFinish(log);
      return next(request, exchange);
    };
}

/** What authorization had against an exchange; the names of rules need no escaping. */
export function refusalFields(refusal: Refusal | undefined): string {
  return refusal === undefined ? '' : `,"authz":"${refusal.isDryRun ? 'would refuse' : 'refused'}","authzRule":"${refusal.rule}"`;
}

/** Nothing about such an exchange changes any more. In one that was broken off, what goes on for it may yet fail. */
function hasGoneWell({ errorCode, cancellation }: Exchange): boolean {
  return errorCode === undefined && !cancellation.isCancelled;
}

/** What there is to say about a call of gRPC, or of an exchange that did not go well: mostly nothing. */
function particularsOf({ errorCode, reason, flags, retriesExhausted, isRetryRefused, grpcStatus, refusal }: Exchange): string {
  if (errorCode === undefined && flags === undefined && !retriesExhausted && !isRetryRefused && grpcStatus === undefined && refusal === undefined) return '';
  const grpc = (grpcStatus === undefined ? '' : `,"grpcStatus":${grpcStatus}`) + refusalFields(refusal);
  const code = errorCode === undefined ? '' : `,"code":"${errorCode}"${reason === undefined ? '' : `,"reason":${asciiJson(reason)}`}`;
  const all = [flags, errorCode && describe(errorCode).flag, retriesExhausted ? 'URX' : undefined, isRetryRefused ? 'UO' : undefined];
  const told = all.filter((flag, index) => flag !== undefined && all.indexOf(flag) === index);
  return told.length === 0 ? grpc : `${grpc}${code},"flags":"${told.join(',')}"`;
}

/** Text that is made of a key once. */
class Memo {
  readonly #known = new BoundedMemo<string>({ maxEntries: maxKnown, maxLength: maxKnownLength });
  /** Most are like the one before. */
  #lastKey: string | undefined;
  #lastText = '';

  constructor(private readonly make: (key: string) => string) {}

  of(key: string): string {
    if (key === this.#lastKey) return this.#lastText;
    const text = this.#known.get(key) ?? this.#add(key);
    if (this.#known.keeps(key)) {
      this.#lastKey = key;
      this.#lastText = text;
    }
    return text;
  }

  #add(key: string): string {
    const text = this.make(this.#known.keeps(key) ? interned(key) : key);
    this.#known.set(key, text);
    return text;
  }
}

interface Named {
  /** Route, upstream and endpoint. */
  readonly text: string;
  /** The same between status and attempts, by status. */
  readonly afterOneAttempt: string[];
}

/** The part of a line that names route, upstream and endpoint: escaped once for each combination, of which configuration has few. */
class NameFields {
  readonly #known = new Map<string, Map<string, Map<string, Named>>>();
  #size = 0;
  /** Most are like the one before. */
  #lastRoute = '';
  #lastUpstream = '';
  #lastEndpoint = '';
  #last: Named | undefined;

  of(route: string, upstream: string, endpoint: string): Named {
    if (this.#last !== undefined && route === this.#lastRoute && upstream === this.#lastUpstream && endpoint === this.#lastEndpoint) return this.#last;
    this.#lastRoute = route;
    this.#lastUpstream = upstream;
    this.#lastEndpoint = endpoint;
    return (this.#last = this.#known.get(route)?.get(upstream)?.get(endpoint) ?? this.#add(route, upstream, endpoint));
  }

  #add(route: string, upstream: string, endpoint: string): Named {
    const field = (name: string, value: string): string => (value === '' ? '' : `,"${name}":${asciiJson(value)}`);
    const named: Named = { text: field('route', route) + field('upstream', upstream) + field('endpoint', endpoint), afterOneAttempt: [] };
    // Configuration that is exchanged for ever brings ever new names.
    if (this.#size++ >= maxKnown) {
      this.#known.clear();
      this.#size = 0;
    }
    let byUpstream = this.#known.get(route);
    if (byUpstream === undefined) this.#known.set(route, (byUpstream = new Map<string, Map<string, Named>>()));
    let byEndpoint = byUpstream.get(upstream);
    if (byEndpoint === undefined) byUpstream.set(upstream, (byEndpoint = new Map<string, Named>()));
    byEndpoint.set(endpoint, named);
    return named;
  }
}

const maxKnown = 10_000;
const maxKnownLength = 255;

/** With two digits behind the point. Formatting a fraction is slow, and most are short times: those are formatted once. */
function milliseconds(ms: number): string {
  const hundredths = Math.round(ms * 100);
  if (!(hundredths < maxKnownNumber)) return String(hundredths / 100);
  return (knownTimes[hundredths | 0] ??= String(hundredths / 100));
}

function count(number: number): string {
  if (number >= maxKnownNumber) return String(number);
  return (knownCounts[number] ??= String(number));
}

const maxKnownNumber = 10_000;
// Full from the start: V8 would make hash tables of lists with holes as large as theirs.
const knownTimes = new Array<string | undefined>(maxKnownNumber).fill(undefined);
const knownCounts = new Array<string | undefined>(maxKnownNumber).fill(undefined);

/** Turns readings of the clock into wall time. The two are compared ten times a second, so that a wall clock which is set is followed soon. */
function wallTimes(clock: Clock): (reading: number) => number {
  let [offset, until] = [0, -Infinity];
  return (reading) => {
    if (reading >= until) {
      const now = clock.now();
      offset = clock.wallNow() - now;
      until = now + 100;
    }
    return Math.round(reading + offset);
  };
}

/** The beginning of a line, up to the request id, with an ISO 8601 time: made once for each millisecond and listener, its date once for each second. */
function beginnings(): (wallTime: number, listener: string) => string {
  let last = NaN;
  let lastSecond = NaN;
  let upToSecond = '';
  let of = '';
  let text = '';
  return (wallTime, listener) => {
    const now = Math.floor(wallTime);
    if (now !== last || listener !== of) {
      last = now;
      of = listener;
      const second = Math.floor(now / 1_000);
      if (second !== lastSecond) {
        lastSecond = second;
        upToSecond = `{"time":"${new Date(second * 1_000).toISOString().slice(0, -'000Z'.length)}`;
      }
      text = `${upToSecond}${String(now - second * 1_000).padStart(3, '0')}Z","level":"info","listener":"${listener}","requestId":"`;
    }
    return text;
  };
}
