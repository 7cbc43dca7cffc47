import type { Clock } from '../clock/clock.js';
import { describe } from '../errors/catalogue.js';
import type { Exchange } from '../http/exchange.js';
import type { Layer } from '../http/service.js';

/** Takes whole lines of ASCII, newline included. */
export interface LineSink {
  write(line: string): void;
}

/**
 * One JSON line for each exchange, written when the response has been sent or broken off.
 *
 * The line is put together by hand: a generic logger call costs more than the whole rest of this layer. The
 * path is logged without its query, since queries carry secrets. What may hold a quotation mark or anything beyond
 * ASCII is escaped; method and authority were validated, and cannot.
 */
export function accessLog(sink: LineSink, { clock }: { clock: Clock }): Layer {
  const time = timestamps(clock);
  const log = (over: Exchange): void => sink.write(line(time(), over));
  return (next) =>
    function accessLog(request, exchange) {
      exchange.onFinish(log);
      return next(request, exchange);
    };
}

function line(time: string, exchange: Exchange): string {
  const { errorCode, trace, startedAt, finishedAt, respondedAt } = exchange;
  const { method, authority, path } = exchange.request!;
  let text =
    `{"time":"${time}","level":"info","listener":"${exchange.listener}","requestId":${quote(exchange.requestId)},"client":${quote(exchange.clientAddress)}` +
    `,"method":"${method}","authority":"${authority}","path":${quote(path)},"status":${exchange.status}`;
  if (errorCode !== undefined) text += `,"code":"${errorCode}","flags":"${describe(errorCode).flag}"`;
  if (exchange.route !== undefined) text += `,"route":${quote(exchange.route)}`;
  if (exchange.upstream !== undefined) text += `,"upstream":${quote(exchange.upstream)}`;
  if (exchange.endpoint !== undefined) text += `,"endpoint":${quote(exchange.endpoint)}`;
  text += `,"attempts":${exchange.attempts}`;
  if (exchange.caller !== undefined) text += `,"caller":${quote(exchange.caller.subject)}`;
  if (trace !== undefined) text += `,"traceId":"${trace.traceId}","spanId":"${trace.spanId}"`;
  text += `,"requestBytes":${exchange.requestBytes},"responseBytes":${exchange.responseBytes},"durationMs":${round(finishedAt! - startedAt)}`;
  if (respondedAt !== undefined) text += `,"upstreamMs":${round(respondedAt - startedAt)}`;
  return `${text}}\n`;
}

const needsEscape = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

function quote(text: string): string {
  return needsEscape.test(text) ? escaped(text) : `"${text}"`;
}

function escaped(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Milliseconds with two digits behind the point. */
function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** ISO 8601 times, formatted once for each millisecond. */
function timestamps(clock: Clock): () => string {
  let last = NaN;
  let text = '';
  return () => {
    const now = Math.floor(clock.wallNow());
    if (now !== last) {
      last = now;
      text = new Date(now).toISOString();
    }
    return text;
  };
}
