import type { FastifyRequest } from 'fastify';
import type { Http2ServerRequest } from 'node:http2';
import type { Readable } from 'node:stream';
import type { RequestLimitsConfig } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { Headers } from '../../http/headers.js';
import { requestFraming } from '../../http1/framing.js';
import { removeHopByHop } from '../../http1/hop-by-hop.js';
import { Http1Error } from '../../http1/http1-error.js';
import { checkScheme, isVisible, parseAuthority, parseTarget, type Target } from '../../http1/target.js';
import { readRequestFields } from '../../http2/request-fields.js';

/** The head of a request, read by the engine's rules. */
interface RequestParts {
  readonly method: string;
  readonly target: Target;
  readonly authority: string;
  readonly headers: Headers;
  /** Bytes of the body, if the client announced them. */
  readonly length: number | undefined;
}

/** Reads what Node's parser has let through. Throws `ProxyError` and `Http1Error`. */
export function readRequest({ raw }: FastifyRequest, limits: RequestLimitsConfig): RequestParts {
  const parts = raw.httpVersionMajor === 2 ? readHttp2(raw, limits) : readHttp1(raw, limits);
  if (parts.length !== undefined && parts.length > limits.maxBodyBytes) throw new ProxyError('body_too_large');
  removeHopByHop(parts.headers);
  // What expects an answer has had it from Node; and trailers do not come this way.
  parts.headers.delete('expect');
  parts.headers.delete('te');
  return parts;
}

export function isSecure(raw: FastifyRequest['raw']): boolean {
  return (raw.socket as { encrypted?: boolean }).encrypted === true;
}

function readHttp1(raw: FastifyRequest['raw'], limits: RequestLimitsConfig): RequestParts {
  const method = raw.method!;
  const headers = Headers.empty();
  let bytes = method.length + raw.url!.length;
  for (let index = 0; index < raw.rawHeaders.length; index += 2) {
    const [name, value] = [raw.rawHeaders[index]!, raw.rawHeaders[index + 1]!];
    headers.append(name, value);
    bytes += name.length + value.length + 4;
  }
  if (headers.size > limits.maxHeaders || bytes > limits.maxHeadBytes) throw new ProxyError('head_too_large');
  if (raw.url!.length > limits.maxTargetBytes) throw new ProxyError('target_too_long');
  if (!isVisible(raw.url!)) throw new Http1Error('syntax', 'a malformed request target');
  // Node reads codings before chunked and drops them with the field: what goes on would not be what was meant.
  requestFraming(headers, raw.httpVersionMinor);
  const target = parseTarget(raw.url!, method);
  checkScheme(target, isSecure(raw));
  if (headers.getAll('host').length > 1) throw new ProxyError('bad_request');
  const authority = target.authority ?? parseAuthority(headers.get('host') ?? '');
  if (authority !== '') headers.set('Host', authority);
  return { method, target, authority, headers, length: headers.has('content-length') ? Number(headers.get('content-length')) : undefined };
}

function readHttp2(raw: FastifyRequest['raw'], limits: RequestLimitsConfig): RequestParts {
  const fields = [...raw.rawHeaders];
  // An application may have rewritten it.
  fields[fields.indexOf(':path') + 1] = raw.url!;
  return readRequestFields(fields, limits);
}

/**
 * Below `prefix` is where the application has let the stack answer: a path that leaves it would get past whatever guards the rest. Throws
 * `Http1Error`. An application matches the path as it was sent, and the prefix may have parameters: so the beginning of that path is what counts.
 */
export function checkPrefix({ path }: Target, url: string, prefix: string): void {
  const depth = prefix.split('/').filter((segment) => segment !== '').length;
  if (depth === 0) return;
  const sent = url.replace(/^https?:\/\/[^/?#]*/i, '').split('?', 1)[0]!.replace(/\/{2,}/g, '/');
  const mount = parseTarget(sent.split('/', depth + 1).join('/'), 'GET').path;
  if (path !== mount && !path.startsWith(`${mount}/`)) throw new Http1Error('syntax', 'a path that leaves the prefix');
}

/** In HTTP/2 a body needs no field that announces it; without one Fastify overlooks it. */
export function unannouncedBody(raw: FastifyRequest['raw']): Readable | undefined {
  const { stream } = raw as unknown as Partial<Http2ServerRequest>;
  return stream === undefined || stream.endAfterHeaders || raw.method === 'GET' || raw.method === 'HEAD' ? undefined : raw;
}
