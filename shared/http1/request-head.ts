import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { noFields } from '../http/field-sequence.js';
import { methods } from '../http/methods.js';
import { requestFraming, type Framing } from './framing.js';
import { headText, parseFields, type HeadLines } from './head.js';
import { Http1Error } from './http1-error.js';
import { isVisible, parseAuthority, parseTarget, type Target } from './target.js';

export interface RequestHead {
  readonly method: string;
  readonly minorVersion: number;
  readonly target: Target;
  /** From the absolute target if there is one, otherwise from `Host`; lower-case; may be empty. */
  readonly authority: string;
  readonly headers: Headers;
  readonly framing: Framing;
  /** Whether the client is willing to send another request on the connection. */
  readonly keepAlive: boolean;
}

interface RequestHeadLimits {
  readonly maxHeaders: number;
  readonly maxTargetBytes: number;
}

const space = 0x20;
const versionForm = /^HTTP\/\d\.\d$/;
const methodForm = /^[A-Z-]+$/;

/** Parses and checks the head of a request: `data[start, end)`, whose `lines` are known where it was scanned. Throws `Http1Error`. */
export function parseRequestHead(data: Buffer, start: number, end: number, limits: RequestHeadLimits, lines?: HeadLines): RequestHead {
  const text = headText(data, start, end);
  const lineEnd = lines !== undefined && lines.count > 0 ? lines.ends[0]! - start : text.indexOf('\r\n');
  const isGet = text.startsWith('GET') && text.charCodeAt(3) === space;
  const methodEnd = isGet ? 3 : text.indexOf(' ');
  const targetEnd = lineEnd - 9;
  const minorVersion = text.startsWith(' HTTP/1.1', targetEnd) ? 1 : text.startsWith(' HTTP/1.0', targetEnd) ? 0 : refuseVersion(text.slice(0, lineEnd));
  if (!isVisible(text, methodEnd + 1, targetEnd)) throw new Http1Error('syntax', 'a malformed request line');
  const method = isGet ? 'GET' : methods.get(text.slice(0, methodEnd));
  // Strange methods are refused as Node's own server does, so that nothing behind us is surprised by one.
  if (method === undefined) throw new Http1Error('syntax', 'an unknown method');
  const headers = parseFields(text, lineEnd + 2, limits.maxHeaders, noFields, lines, start);
  if (method === 'CONNECT') throw new Http1Error('method', 'CONNECT');
  if (targetEnd - methodEnd - 1 > limits.maxTargetBytes) throw new Http1Error('target_too_long', 'an over-long request target');
  const target = parseTarget(text.slice(methodEnd + 1, targetEnd), method);
  const framing = requestFraming(headers, minorVersion);
  return {
    method,
    minorVersion,
    target,
    authority: checkHost(headers, minorVersion, target),
    headers,
    framing,
    keepAlive: wantsKeepAlive(headers, minorVersion),
  };
}

/** Another version is refused as one only in a line that is otherwise in order. */
function refuseVersion(line: string): never {
  const [method, target, version, ...more] = line.split(' ');
  const isWellFormed = more.length === 0 && methodForm.test(method!) && isVisible(target ?? '') && versionForm.test(version ?? '');
  if (isWellFormed) throw new Http1Error('version', 'a version other than 1.0 and 1.1');
  throw new Http1Error('syntax', 'a malformed request line');
}

function checkHost(headers: Headers, minorVersion: number, target: Target): string {
  if (headers.repeatsKind(fieldKind.host)) throw new Http1Error('syntax', 'more than one Host');
  if (!headers.hasKind(fieldKind.host) && minorVersion === 1) throw new Http1Error('syntax', 'no Host');
  const sent = headers.getKind(fieldKind.host) ?? '';
  const host = parseAuthority(sent);
  if (target.authority === undefined) {
    // The upstream must see what routes saw: `Shop.`, another virtual host to some, was `shop` to them.
    if (host !== sent) headers.set('Host', host);
    return host;
  }
  // RFC 9112 section 3.2.2: the absolute form wins, and Host is rewritten to agree with it.
  headers.set('Host', target.authority);
  return target.authority;
}

/** Persistence as RFC 9112 section 9.3 has it. */
export function wantsKeepAlive(headers: Headers, minorVersion: number): boolean {
  if (!headers.hasKind(fieldKind.connection)) return minorVersion === 1;
  // No field of any standard, but what a client means by it is plain, and Node's server closes too.
  if (headers.has('proxy-connection') && /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i.test(headers.getCombined('proxy-connection')!)) return false;
  if (!headers.has('connection')) return minorVersion === 1;
  const options = headers.getCombined('connection')!.toLowerCase();
  if (options === 'keep-alive') return true;
  const names = options.split(',').map((name) => name.trim());
  return names.includes('close') ? false : minorVersion === 1 || names.includes('keep-alive');
}
