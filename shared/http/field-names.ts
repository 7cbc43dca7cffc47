import { BoundedMemo } from './bounded-memo.js';
import { interned } from './interned.js';

/**
 * Field names that mean something to a proxy, by kind.
 *
 * The kinds are bits. A message's `Headers` keep the union of the kinds of its fields, so that "is there
 * anything to remove?", which is nearly always answered with no, costs one comparison.
 */
export const fieldKind = {
  /** Concern one connection and end there (RFC 9110 section 7.6.1, and those of RFC 2616 still in use). */
  hopByHop: 1,
  /** Say who the client was and what it asked for; only a proxy may say it. */
  forwarding: 2,
  /** Tell an application who calls; no request from outside may carry them. */
  identity: 4,
  /** Nobody can remove them by naming them in `Connection`: framing, routing, identity, and what proxies add. */
  protected: 8,
  /** Frame, route or authenticate a message, and therefore are no trailers (RFC 9110 section 6.5.1). */
  notInTrailers: 16,
  /** Say whether the connection is kept, and what else ends with it. */
  connection: 32,
  /** What one proxy tells the next about a request; believed inside, removed at the edge. */
  mesh: 64,
  /** One field each, which every message is asked for. */
  host: 128,
  contentLength: 256,
  transferEncoding: 512,
  contentType: 1_024,
  expect: 2_048,
  upgrade: 4_096,
  via: 8_192,
  /** Say which request, of which trace, a message belongs to. */
  trace: 16_384,
  /** Written with a `_`, and so perhaps another name to the application: see `kindsOf`. */
  underscored: 32_768,
  date: 65_536,
} as const;

const { hopByHop, forwarding, identity, protected: guarded, notInTrailers, connection, mesh } = fieldKind;

const byKind: readonly (readonly [kind: number, names: readonly string[]])[] = [
  [hopByHop | notInTrailers, [
    'connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'te', 'upgrade', 'http2-settings',
    'proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info',
  ]],
  [forwarding | guarded | notInTrailers, [
    'forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-prefix', 'x-forwarded-server',
    'x-real-ip', 'x-client-ip', 'x-cluster-client-ip', 'true-client-ip', 'x-original-url', 'x-rewrite-url', 'x-request-id',
  ]],
  [identity | guarded | notInTrailers, [
    'x-auth-subject', 'x-auth-scope', 'x-auth-user', 'x-auth-request-user', 'x-forwarded-user', 'x-remote-user', 'remote-user',
    'x-authenticated-user', 'x-user-id', 'x-forwarded-client-cert', 'x-client-cert', 'x-ssl-client-cert', 'x-spiffe-id',
  ]],
  [fieldKind.host, ['host']],
  [fieldKind.contentLength, ['content-length']],
  [fieldKind.transferEncoding, ['transfer-encoding']],
  [fieldKind.expect, ['expect']],
  [fieldKind.upgrade, ['upgrade']],
  [fieldKind.via, ['via']],
  [fieldKind.contentType, ['content-type']],
  [fieldKind.date, ['date']],
  [fieldKind.trace, ['x-request-id', 'traceparent', 'tracestate']],
  [connection, ['connection', 'proxy-connection']],
  [mesh | guarded | notInTrailers, ['x-envoy-attempt-count', 'x-envoy-expected-rq-timeout-ms', 'x-request-priority']],
  [guarded | notInTrailers, ['host', 'content-length', 'authorization', 'cookie', 'via', 'trailer', 'traceparent', 'tracestate']],
  [notInTrailers, [
    'expect', 'max-forwards',
    'www-authenticate', 'set-cookie', 'content-type', 'content-encoding', 'content-range', 'range', 'cache-control', 'location', 'vary', 'age',
    'date', 'expires', 'retry-after',
  ]],
];

interface FieldName {
  /** As it was written. */
  readonly written: string;
  readonly lower: string;
  /** Bits of `fieldKind`. */
  readonly kinds: number;
}

/** Names as written, to what is known of them: a hit needs no check and no new string. */
const known = new BoundedMemo<FieldName>({ maxEntries: 2_000, maxLength: 64 });
const kindsByName = new Map<string, number>();
for (const [kinds, names] of byKind) for (const name of names) kindsByName.set(name, (kindsByName.get(name) ?? 0) | kinds);

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** What is known of a field's name; undefined when it is no token (RFC 9110 section 5.1). */
export function fieldName(written: string): FieldName | undefined {
  const hit = known.get(written);
  if (hit !== undefined) return hit;
  if (!token.test(written)) return undefined;
  const lower = interned(written.toLowerCase());
  const name = { written: interned(written), lower, kinds: kindsOf(lower) };
  known.set(name.written, name);
  return name;
}

/**
 * Bits of `fieldKind` of a lower-case name. Applications behind CGI, WSGI and their like cannot tell `_` from `-` in it (RFC 3875 section
 * 4.1.18), so what only a proxy may say nobody says with a `_` either, and what frames a message ends here when it is written so.
 */
export function kindsOf(lower: string): number {
  if (!lower.includes('_')) return kindsOfPlain(lower);
  const kinds = kindsOfPlain(lower.replaceAll('_', '-'));
  const frames = fieldKind.contentLength | fieldKind.transferEncoding;
  return fieldKind.underscored | (kinds & (forwarding | identity | mesh | guarded | notInTrailers)) | ((kinds & frames) !== 0 ? hopByHop : 0);
}

function kindsOfPlain(lower: string): number {
  return kindsByName.get(lower) ?? (lower.startsWith('x-forwarded-') ? forwarding | guarded | notInTrailers : lower.startsWith('x-auth-') ? guarded | notInTrailers : 0);
}
