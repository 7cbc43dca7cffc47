import type { Clock } from '../clock/clock.js';
import { describe } from '../errors/catalogue.js';
import type { Exchange } from '../http/exchange.js';
import type { Layer } from '../http/service.js';
import { asciiJson, type LineWriter } from './line-writer.js';

/**
 * One JSON line for each exchange, written when the response has been sent or broken off.
 *
 * The line is put together by hand: a generic logger call costs more than the whole rest of this layer. The
 * path is logged without its query, since queries carry secrets. What may hold a quotation mark or anything beyond
 * ASCII is escaped; method and authority were validated, and cannot.
 */
export function accessLog(writer: LineWriter, { clock }: { clock: Clock }): Layer {
  const time = timestamps(clock);
  const names = new NameFields();
  const log = (exchange: Exchange): void => {
    const { errorCode, trace, caller, startedAt, respondedAt, clientAddress, requestId } = exchange;
    const { method, authority, path } = exchange.request!;
    const { route = '', upstream = '', endpoint = '' } = exchange;
    const failure = errorCode === undefined ? '' : `,"code":"${errorCode}","flags":"${describe(errorCode).flag}"`;
    const grpc = exchange.grpcStatus === undefined ? '' : `,"grpcStatus":${exchange.grpcStatus}`;
    const who = caller === undefined ? '' : `,"caller":${asciiJson(caller.subject)}`;
    const where = trace === undefined ? '' : `,"traceId":"${trace.traceId}","spanId":"${trace.spanId}"`;
    const upstreamTime = respondedAt === undefined ? '}\n' : `,"upstreamMs":${milliseconds(respondedAt - startedAt)}}\n`;
    writer.write(
      `${time()}${exchange.listener}","requestId":${asciiJson(requestId)},"client":${asciiJson(clientAddress)},"method":"${method}","authority":"${authority}","path":${asciiJson(path)}` +
        `,"status":${exchange.status}${grpc}${failure}${names.of(route, upstream, endpoint)},"attempts":${exchange.attempts}${who}${where}` +
        `,"requestBytes":${exchange.requestBytes},"responseBytes":${exchange.responseBytes},"durationMs":${milliseconds(exchange.finishedAt! - startedAt)}${upstreamTime}`,
    );
  };
  return (next) =>
    function accessLog(request, exchange) {
      exchange.onFinish(log);
      return next(request, exchange);
    };
}

/** The part of a line that names route, upstream and endpoint: escaped once for each combination, of which configuration has few. */
class NameFields {
  readonly #known = new Map<string, Map<string, Map<string, string>>>();
  #size = 0;

  of(route: string, upstream: string, endpoint: string): string {
    const known = this.#known.get(route)?.get(upstream)?.get(endpoint);
    return known ?? this.#add(route, upstream, endpoint);
  }

  #add(route: string, upstream: string, endpoint: string): string {
    const field = (name: string, value: string): string => (value === '' ? '' : `,"${name}":${asciiJson(value)}`);
    const text = field('route', route) + field('upstream', upstream) + field('endpoint', endpoint);
    // Configuration that is exchanged for ever brings ever new names.
    if (this.#size++ >= maxKnownNames) {
      this.#known.clear();
      this.#size = 0;
    }
    let byUpstream = this.#known.get(route);
    if (byUpstream === undefined) this.#known.set(route, (byUpstream = new Map<string, Map<string, string>>()));
    let byEndpoint = byUpstream.get(upstream);
    if (byEndpoint === undefined) byUpstream.set(upstream, (byEndpoint = new Map<string, string>()));
    byEndpoint.set(endpoint, text);
    return text;
  }
}

const maxKnownNames = 10_000;

/** With two digits behind the point. Formatting a fraction is slow, and most are short times: those are formatted once. */
function milliseconds(ms: number): string {
  const hundredths = Math.round(ms * 100);
  if (hundredths >= maxKnownTimes) return String(hundredths / 100);
  return (knownTimes[hundredths] ??= String(hundredths / 100));
}

const maxKnownTimes = 10_000;
const knownTimes: string[] = [];

/** The beginning of a line, with an ISO 8601 time that is formatted once for each millisecond. */
function timestamps(clock: Clock): () => string {
  let last = NaN;
  let text = '';
  return () => {
    const now = Math.floor(clock.wallNow());
    if (now !== last) {
      last = now;
      text = `{"time":"${new Date(now).toISOString()}","level":"info","listener":"`;
    }
    return text;
  };
}
