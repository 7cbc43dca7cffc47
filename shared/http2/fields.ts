import type { OutgoingHttpHeaders } from 'node:http2';
import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { FieldBlock } from './request-fields.js';

/** Fields that Node takes only once; several are one list (RFC 9110 section 5.3), or nonsense in any case. */
const single = new Set([
  'access-control-allow-credentials', 'access-control-max-age', 'access-control-request-method', 'age', 'authorization', 'content-encoding', 'content-language',
  'content-length', 'content-location', 'content-md5', 'content-range', 'content-type', 'date', 'dnt', 'etag', 'expires', 'from', 'host', 'if-match',
  'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'range', 'referer',
  'retry-after', 'tk', 'upgrade-insecure-requests', 'user-agent', 'x-content-type-options',
]);

/**
 * A message's fields, behind the pseudo-fields `first`, in the form that node:http2 takes. What concerns a connection stays behind, and so
 * does `without`. Anybody may name a field `constructor` or `__proto__`: the record inherits nothing.
 */
export function writeFields(headers: Headers, first: OutgoingHttpHeaders, without?: string): OutgoingHttpHeaders {
  const into = Object.assign(Object.create(null) as OutgoingHttpHeaders, first);
  headers.deleteKind(fieldKind.hopByHop);
  for (const [name, value] of headers) {
    if (name === without) continue;
    const before = into[name];
    if (before === undefined) into[name] = value;
    else if (single.has(name)) into[name] = `${String(before)}, ${value}`;
    else if (Array.isArray(before)) before.push(value);
    else into[name] = [before as string, value];
  }
  return into;
}

/** How long a head is, as an endpoint counts what it takes (RFC 9113 section 6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE). */
export function fieldBytes(fields: OutgoingHttpHeaders): number {
  let bytes = 0;
  for (const name in fields) {
    const value = fields[name] as string | string[];
    if (typeof value === 'string') bytes += name.length + value.length + 32;
    else for (const one of value) bytes += name.length + one.length + 32;
  }
  return bytes;
}

/** The regular fields of a response or of trailers: `raw` is name, value, name, value. Throws `Http1Error`. */
export function readFields(raw: readonly string[]): Headers {
  const block = new FieldBlock();
  for (let index = 0; index < raw.length; index += 2) if (!raw[index]!.startsWith(':')) block.add(raw[index]!, raw[index + 1]!);
  return block.headers();
}

/** Trailers that may go on, or undefined if there are none. */
export function readTrailers(raw: readonly string[]): Headers | undefined {
  const trailers = readFields(raw);
  trailers.deleteKind(fieldKind.notInTrailers);
  return trailers.size === 0 ? undefined : trailers;
}
