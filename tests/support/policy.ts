import { StreamBody, WholeBody, emptyBody, type Body } from '../../shared/http/body.js';
import { Exchange } from '../../shared/http/exchange.js';
import { Headers } from '../../shared/http/headers.js';
import type { HttpRequest, HttpResponse } from '../../shared/http/message.js';

/** An exchange as a listener would open it. */
export function exchange(clientAddress = '192.0.2.1'): Exchange {
  return new Exchange('test', clientAddress, 0);
}

/** A GET for `/`, or whatever `changes` say. */
export function request(over: Exchange, changes: Partial<HttpRequest> & { readonly fields?: Readonly<Record<string, string>> } = {}): HttpRequest {
  const { fields = {}, ...rest } = changes;
  return {
    method: 'GET', target: '/', path: '/', authority: 'shop', scheme: 'http', headers: Headers.of(fields), body: emptyBody, cancellation: over.cancellation, ...rest,
  };
}

/** A body whose client is awaited from one clock reading to another, when it is whole (ms). */
export function upload(from: number, until: number): Body {
  let last = 0;
  return new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} }, {
    get isComplete() {
      return last >= until;
    },
    get isOwed() {
      return last < until;
    },
    awaitedMs(now) {
      last = now;
      return Math.max(0, Math.min(now, until) - from);
    },
    sendingMs(now) {
      return this.awaitedMs(now);
    },
  });
}

/** A body that stays open: its client is not awaited, and has not sent all of it. */
export function openEnded(): Body {
  return new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} }, { isComplete: false, isOwed: true, awaitedMs: () => 0, sendingMs: (now) => now });
}

/** A body that came in pieces, and ended with `trailers`. */
export function endingWith(trailers: Readonly<Record<string, string>>): Body {
  const body = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
  body.end(Headers.of(trailers));
  return body;
}

export function trailersOf(body: Body): Promise<Headers | undefined> {
  return new Promise((resolve, reject) => body.pipe({ chunk: () => true, end: resolve, fail: reject }));
}

export function response(status: number, fields: Readonly<Record<string, string>> = {}, body = ''): HttpResponse {
  return { status, headers: Headers.of(fields), body: new WholeBody(Buffer.from(body)) };
}
