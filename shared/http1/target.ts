import { BoundedMemo } from '../http/bounded-memo.js';
import { canonicalHost } from '../config/host.js';
import { interned } from '../http/interned.js';
import { Http1Error } from './http1-error.js';

/** A request target, taken apart (RFC 9112 section 3.2). */
export interface Target {
  /** Path and query, normalised: what goes upstream. */
  readonly target: string;
  /** The normalised path without path parameters: what routes are matched against. */
  readonly path: string;
  /** Authority of an absolute-form target, lower-case; it then takes precedence over `Host`. */
  readonly authority: string | undefined;
  readonly scheme: 'http' | 'https' | undefined;
}

/** Whether `text[from, to)` is something, and nothing but visible ASCII: what any target is made of. */
export function isVisible(text: string, from = 0, to = text.length): boolean {
  for (let index = from; index < to; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x21 || code > 0x7e) return false;
  }
  return from < to;
}

/**
 * One path, one meaning. A policy that guards `/admin` must see `/admin` however a client spells it,
 * and the upstream must see what the policy saw. So the path is normalised (RFC 3986 section 6.2.2) and the
 * normalised form goes upstream: percent-encoded unreserved characters are decoded, dot segments
 * removed, repeated slashes made one. What servers are known to disagree about is refused: an encoded slash,
 * backslash or NUL, a raw backslash, a malformed percent sign, a fragment, parameters that something follows and that have no name before
 * them. Path parameters (`;x=1`) go upstream but are not matched, since many servers drop them before they route, and then
 * `/;/admin` is `//admin`.
 */
export function parseTarget(raw: string, method: string): Target {
  if (raw.startsWith('/')) return originForm(raw, undefined, undefined);
  if (raw === '*' && method === 'OPTIONS') return { target: '*', path: '*', authority: undefined, scheme: undefined };
  const absolute = absoluteForm.exec(raw);
  if (absolute === null) throw new Http1Error('syntax', 'a request target in no known form');
  const scheme = absolute[1]!.toLowerCase() as 'http' | 'https';
  const authority = parseAuthority(absolute[2]!);
  if (authority === '') throw new Http1Error('syntax', 'an absolute target without a host');
  const rest = absolute[3]!;
  // RFC 9112 section 3.2.4: what is asked of the server as a whole.
  if (rest === '' && method === 'OPTIONS') return { target: '*', path: '*', authority, scheme };
  return originForm(rest.startsWith('/') ? rest : `/${rest}`, authority, scheme);
}

const absoluteForm = /^(https?):\/\/([^/?#]*)(.*)$/i;

function originForm(raw: string, authority: string | undefined, scheme: Target['scheme']): Target {
  if (raw.includes('#')) throw new Http1Error('syntax', 'a fragment in a request target');
  const question = raw.indexOf('?');
  const rawPath = question === -1 ? raw : raw.slice(0, question);
  if (isPlain(rawPath)) return { target: raw, path: rawPath, authority, scheme };
  const path = normalisePath(rawPath);
  if (path.includes('/;') && /\/;[^/]*\//.test(path)) throw new Http1Error('syntax', 'path parameters without a name');
  return {
    target: question === -1 ? path : path + raw.slice(question),
    path: path.includes(';') ? removeDotSegments(path.replace(/;[^/]*/g, '')) : path,
    authority,
    scheme,
  };
}

/** Most paths need nothing: no escape, no parameter, no backslash, no `//`, no segment that starts with a dot. */
function isPlain(path: string): boolean {
  let isAfterSlash = false;
  for (let index = 0; index < path.length; index++) {
    const code = path.charCodeAt(index);
    const isSlash = code === slash;
    if (code === percent || code === semicolon || code === backslash || (isAfterSlash && (isSlash || code === dot))) return false;
    isAfterSlash = isSlash;
  }
  return true;
}
const percent = 0x25;
const dot = 0x2e;
const slash = 0x2f;
const semicolon = 0x3b;
const backslash = 0x5c;

function normalisePath(raw: string): string {
  if (raw.includes('\\')) throw new Http1Error('syntax', 'a backslash in a path');
  const decoded = raw.replace(/%(.{0,2})/g, (_, digits: string) => {
    if (!/^[0-9A-Fa-f]{2}$/.test(digits)) throw new Http1Error('syntax', 'a malformed percent-encoding');
    const code = parseInt(digits, 16);
    if (code === 0x2f || code === 0x5c || code === 0) throw new Http1Error('syntax', 'an encoded slash, backslash or NUL in a path');
    const character = String.fromCharCode(code);
    return /[\w~.-]/.test(character) ? character : `%${digits.toUpperCase()}`;
  });
  return removeDotSegments(decoded.replace(/\/{2,}/g, '/'));
}

function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  segments.forEach((segment, index) => {
    const isLast = index === segments.length - 1;
    // `..;x` and `.;x` are dot segments to servers that drop parameters first.
    const bare = segment.split(';', 1)[0]!;
    if (bare === '..') {
      kept.pop();
      if (isLast) kept.push('');
    } else if (bare === '.') {
      if (isLast) kept.push('');
    } else {
      kept.push(segment);
    }
  });
  return `/${kept.join('/')}`;
}

/** Refuses `https` asked for where nothing is encrypted (RFC 9110 section 7.4). */
export function checkScheme({ scheme }: Target, isSecure: boolean): void {
  if (scheme === 'https' && !isSecure) throw new Http1Error('syntax', 'an https target on a connection without TLS');
}

/**
 * Validates `host[:port]` (RFC 3986 section 3.2, without user information) and makes one spelling of it: lower-case, and without the
 * dot at the end of a name that is written from the root of DNS. An escape is refused: no name needs one, and not everybody decodes it.
 */
export function parseAuthority(raw: string): string {
  if (raw === lastRaw) return lastAuthority;
  const known = knownAuthorities.get(raw);
  if (known !== undefined) {
    lastRaw = raw;
    return (lastAuthority = known);
  }
  const form = authorityForm.exec(raw);
  if (form === null || Number(form[2] ?? 0) > 65_535) throw new Http1Error('syntax', 'a host that is not a host');
  const authority = raw.startsWith('[') ? ofAddress(form[1]!, form[2]) : raw.toLowerCase().replace(/(?<=[^.])\.(?=:|$)/, '');
  if (knownAuthorities.keeps(raw)) knownAuthorities.set(raw, interned(authority));
  return authority;
}

/** In one spelling: rules and routes compare what they are told with what is asked for. */
function ofAddress(host: string, port: string | undefined): string {
  const canonical = canonicalHost(host);
  if (canonical === undefined) throw new Http1Error('syntax', 'a host that is not a host');
  return port === undefined ? canonical : `${canonical}:${port}`;
}

const knownAuthorities = new BoundedMemo<string>({ maxEntries: 1_000, maxLength: 255 });
/** The one before: most are alike. */
let [lastRaw, lastAuthority] = ['', ''];
const authorityForm = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+,;=-]*)(?::(\d{0,5}))?$/;
