import { METHODS } from 'node:http';
import type { Headers } from '../http/headers.js';
import { requestFraming, type Framing } from './framing.js';
import { parseHead } from './head.js';
import { Http1Error } from './http1-error.js';
import { parseAuthority, parseTarget, type Target } from './target.js';

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

export interface RequestHeadLimits {
  readonly maxHeaders: number;
  readonly maxTargetBytes: number;
}

const methods = new Set(METHODS);
const requestLine = /^([A-Z-]+) ([\x21-\x7e]+) HTTP\/(\d)\.(\d)$/;

/** Parses and checks the head of a request: `data[start, end)`. Throws `Http1Error`. */
export function parseRequestHead(data: Buffer, start: number, end: number, limits: RequestHeadLimits): RequestHead {
  const { startLine, headers } = parseHead(data, start, end, limits.maxHeaders);
  const match = requestLine.exec(startLine);
  if (match === null) throw new Http1Error('syntax', 'a malformed request line');
  const method = match[1]!;
  if (match[3] !== '1' || (match[4] !== '1' && match[4] !== '0')) throw new Http1Error('version', 'a version other than 1.0 and 1.1');
  // Strange methods are refused as Node's own server does, so that nothing behind us is surprised by one.
  if (!methods.has(method)) throw new Http1Error('syntax', 'an unknown method');
  if (method === 'CONNECT') throw new Http1Error('method', 'CONNECT');
  if (match[2]!.length > limits.maxTargetBytes) throw new Http1Error('target_too_long', 'an over-long request target');
  const minorVersion = match[4] === '1' ? 1 : 0;
  const target = parseTarget(match[2]!, method);
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

function checkHost(headers: Headers, minorVersion: number, target: Target): string {
  const hosts = headers.getAll('host');
  if (hosts.length > 1) throw new Http1Error('syntax', 'more than one Host');
  if (hosts.length === 0 && minorVersion === 1) throw new Http1Error('syntax', 'no Host');
  const host = parseAuthority(hosts[0] ?? '');
  if (target.authority === undefined) return host;
  // RFC 9112 section 3.2.2: the absolute form wins, and Host is rewritten to agree with it.
  headers.set('Host', target.authority);
  return target.authority;
}

/** Persistence as RFC 9112 section 9.3 has it. */
export function wantsKeepAlive(headers: Headers, minorVersion: number): boolean {
  if (!headers.has('connection')) return minorVersion === 1;
  const options = headers.getCombined('connection')!.toLowerCase();
  if (options === 'keep-alive') return true;
  const names = options.split(',').map((name) => name.trim());
  return names.includes('close') ? false : minorVersion === 1 || names.includes('keep-alive');
}
