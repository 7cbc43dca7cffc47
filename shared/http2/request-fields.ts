import { fieldKind } from '../http/field-names.js';
import { noFields } from '../http/field-sequence.js';
import { Headers } from '../http/headers.js';
import { methods } from '../http/methods.js';
import { requestFraming } from '../http1/framing.js';
import { Http1Error } from '../http1/http1-error.js';
import { isVisible, parseAuthority, parseTarget, type Target } from '../http1/target.js';

interface RequestFields {
  readonly method: string;
  readonly target: Target;
  /** From `:authority`, otherwise from `Host`; lower-case. */
  readonly authority: string;
  readonly headers: Headers;
  /** Bytes of the body, if the client announced them. */
  readonly length: number | undefined;
}

interface RequestFieldsLimits {
  readonly maxHeaders: number;
  readonly maxTargetBytes: number;
  readonly maxHeadBytes: number;
}

/** Concern a connection, of which HTTP/2 has no notion in its fields (RFC 9113 section 8.2.2). */
const connectionSpecific = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/**
 * Reads the field block of a request (RFC 9113 section 8.3): `raw` is name, value, name, value. Throws `Http1Error`.
 *
 * Node's library has checked the block before, and resets what is malformed; what matters to us is checked again all the same, since
 * the request may go on over HTTP/1.1, where a line break or a second length would be somebody else's request. What comes out is
 * what a request of HTTP/1.1 would look like: `Host` in place of `:authority`, one `Cookie`, `TE: trailers` with the
 * `Connection` that belongs to it.
 */
export function readRequestFields(raw: readonly string[], limits: RequestFieldsLimits): RequestFields {
  const pseudo: PseudoFields = { method: undefined, path: undefined, scheme: undefined, authority: undefined };
  const block = new FieldBlock();
  const cookies: string[] = [];
  let host: string | undefined;
  let takesTrailers = false;
  let index = 0;
  for (; index < raw.length && raw[index]!.startsWith(':'); index += 2) takePseudo(pseudo, raw[index]!, raw[index + 1]!);
  if (raw.length - index > 2 * limits.maxHeaders) throw new Http1Error('too_many_headers', `more than ${limits.maxHeaders} fields`);
  // RFC 9113 section 8.3.1: Host is made of :authority, and comes first as in most requests.
  if (pseudo.authority !== undefined) block.add('host', parseAuthority(pseudo.authority));
  for (; index < raw.length; index += 2) {
    const name = raw[index]!;
    const value = raw[index + 1]!;
    if (connectionSpecific.has(name)) throw new Http1Error('syntax', `the field ${name}, which concerns a connection`);
    switch (name) {
      case 'host':
        if (host !== undefined) throw new Http1Error('syntax', 'more than one Host');
        host = value;
        if (pseudo.authority === undefined) block.add('host', parseAuthority(value));
        break;
      case 'cookie':
        cookies.push(value);
        break;
      case 'te':
        if (value.trim().toLowerCase() !== 'trailers') throw new Http1Error('syntax', 'TE with something other than trailers');
        takesTrailers = true;
        break;
      default:
        block.add(name, value);
    }
  }
  // RFC 9113 section 8.2.3: the crumbs of a cookie are one field where others are to understand them.
  if (cookies.length > 0) block.add('cookie', cookies.join('; '));
  const { method, target, authority } = requestLine(pseudo, host, limits);
  const headers = block.headers();
  if (block.size + pseudo.path!.length > limits.maxHeadBytes) throw new Http1Error('head_too_large', `a head of more than ${limits.maxHeadBytes} bytes`);
  const framing = requestFraming(headers, 1);
  headers.deleteKind(fieldKind.hopByHop);
  if (takesTrailers) {
    headers.append('TE', 'trailers');
    headers.append('Connection', 'TE');
  }
  return { method, target, authority, headers, length: framing.kind === 'length' ? framing.length : headers.has('content-length') ? 0 : undefined };
}

interface PseudoFields {
  method: string | undefined;
  path: string | undefined;
  scheme: string | undefined;
  authority: string | undefined;
}

function takePseudo(pseudo: PseudoFields, name: string, value: string): void {
  if (name !== ':method' && name !== ':path' && name !== ':scheme' && name !== ':authority') throw new Http1Error('syntax', `the pseudo-field ${name}`);
  const key = name.slice(1) as keyof PseudoFields;
  if (pseudo[key] !== undefined) throw new Http1Error('syntax', `${name} twice`);
  pseudo[key] = value;
}

function requestLine({ method: name, path, scheme, authority }: PseudoFields, host: string | undefined, limits: RequestFieldsLimits): { method: string; target: Target; authority: string } {
  if (name === 'CONNECT') throw new Http1Error('method', 'CONNECT');
  const method = methods.get(name ?? '');
  if (method === undefined) throw new Http1Error('syntax', 'an unknown method');
  if (scheme !== 'http' && scheme !== 'https') throw new Http1Error('syntax', 'a scheme other than http and https');
  // An absolute target belongs to HTTP/1.1: here it could name another host than :authority does.
  if (path === undefined || !isVisible(path) || !(path.startsWith('/') || (path === '*' && method === 'OPTIONS'))) throw new Http1Error('syntax', 'a malformed :path');
  if (path.length > limits.maxTargetBytes) throw new Http1Error('target_too_long', 'an over-long request target');
  const asked = authority ?? host;
  if (asked === undefined || asked === '') throw new Http1Error('syntax', 'neither :authority nor Host');
  const parsed = parseAuthority(asked);
  if (authority !== undefined && host !== undefined && parseAuthority(host) !== parsed) throw new Http1Error('syntax', 'a Host that differs from :authority');
  return { method, target: parseTarget(path, method), authority: parsed };
}

/** Collects fields as the text that `Headers` keeps. */
export class FieldBlock {
  #text = '';
  readonly #ends: number[] = [];
  #sequence = noFields;

  get size(): number {
    return this.#text.length;
  }

  add(name: string, value: string): void {
    const sequence = this.#sequence.then(name);
    if (sequence === undefined || !valueForm.test(value)) throw new Http1Error('syntax', 'a field that is none');
    this.#sequence = sequence;
    this.#text += `${name}: ${value}\r\n`;
    this.#ends.push(this.#text.length);
  }

  headers(): Headers {
    return Headers.parsed(this.#text, this.#sequence, this.#ends);
  }
}

const valueForm = /^[\t\x20-\x7e\x80-\xff]*$/;
