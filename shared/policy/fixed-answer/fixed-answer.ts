import type { RedirectConfig, RespondConfig } from '../../config/shaping.js';
import { WholeBody, emptyBody } from '../../http/body.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import { behindPrefix, pathEnd } from '../../http/target-prefix.js';

/** Answers with a status and a text. */
export function respond({ status, body, contentType }: RespondConfig): Service {
  const bytes = Buffer.from(body);
  const fields = Headers.of({ ...(bytes.length > 0 && { 'Content-Type': contentType }), ...(mayHaveLength(status) && { 'Content-Length': String(bytes.length) }) });
  const content = bytes.length === 0 ? emptyBody : new WholeBody(bytes);
  // Each answer has fields of its own: what stands before it may change them.
  return () => Promise.resolve({ status, headers: fields.clone(), body: content });
}

/** RFC 9110 section 8.6. */
function mayHaveLength(status: number): boolean {
  return status !== 204 && status !== 304;
}

/**
 * Answers with a redirect. Without scheme and host its `Location` is a path alone, so that it leads back to where the
 * client asked, whatever stands between; a path never begins with `//`, which would be a host.
 */
export function redirect({ status, scheme, host, path, prefix, query }: RedirectConfig, matchedPrefix: string): Service {
  const rest = prefix === undefined ? undefined : behindPrefix(matchedPrefix);
  const start = prefix?.replace(/\/$/, '') ?? '';
  const location = (target: string): string => {
    const end = pathEnd(target);
    const kept = query === 'keep' ? target.slice(end) : '';
    if (path !== undefined) return path + kept;
    const without = target.slice(0, end);
    if (rest === undefined) return without + kept;
    const behind = rest(without);
    return (behind.startsWith('/') ? start + behind : start === '' ? '/' : prefix! + behind) + kept;
  };
  const origin = scheme === undefined && host === undefined ? () => '' : absolute(scheme, host);
  return function redirect(request) {
    const to = origin(request) + location(request.target === '*' ? '/' : request.target);
    return Promise.resolve({ status, headers: Headers.of({ Location: to, 'Content-Length': '0' }), body: emptyBody });
  };
}

function absolute(scheme: RedirectConfig['scheme'], host: string | undefined): (request: HttpRequest) => string {
  return (request) => {
    const authority = host ?? (scheme === undefined ? request.authority : request.authority.replace(/:\d*$/, ''));
    // HTTP/1.0 knows clients that do not say whom they ask: they can only be told the path.
    return authority === '' ? '' : `${scheme ?? (request.headers.get('x-forwarded-proto') === 'https' ? 'https' : request.scheme)}://${authority}`;
  };
}
