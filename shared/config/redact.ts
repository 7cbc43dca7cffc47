const secretKeys = /^(?:.*(?:password|secret|token|credential|authorization|apikey|api_key|api-key|privatekey|private_key)|d|p|q|dp|dq|qi|k)$/i;
const pathKeys = /(?:file|path|uri|url)$/i;

/** Names of header fields whose values are usually secrets; the harmless ones among those that sound so come first. */
const secretFields =
  /^(?!access-control-|(?:idempotency|surrogate|cache|sec-websocket)-key$)(?:(?:.*-)?(?:auth|authorization|cookie|key|keys)|.*-auth-.*|auth-.*|.*(?:token|secret|password|passwd|apikey|api[-_]key|credential|signature).*)$/i;

/** Names of cookies and of query parameters whose values are usually secrets, beside those that would be secrets as fields. */
const secretNames = /(?:^|[-_.])(?:sess(?:ion)?|sid|jwt|csrf|xsrf|sig|code|password|passwd|secret)|sessid|_key$/i;

/** Under these keys, keys are names that a client sends something under. */
const isSecretUnder: Readonly<Record<string, (name: string) => boolean>> = {
  headers: (name) => secretFields.test(name),
  cookies: (name) => secretFields.test(name) || secretNames.test(name),
  query: (name) => secretFields.test(name) || secretNames.test(name),
};

/** In a target: `?token=abc`. */
const parameter = /([?&])([^=&#\s]+)=([^&#\s]+)/g;

/**
 * A copy of a document that is fit to be shown: values under keys that name secrets are replaced, private parts of
 * keys (RFC 7518) included, and passwords are cut out of addresses, and secrets out of their queries. Paths of files that hold secrets stay.
 * Under `headers`, `cookies` and `query` keys name what clients send, and all of what one that holds secrets is set to, or compared with, is replaced.
 */
export function redact(value: unknown, key = ''): unknown {
  if (Object.hasOwn(isSecretUnder, key) && typeof value === 'object') return redactUnder(value, isSecretUnder[key]!);
  if (Array.isArray(value)) return value.map((item) => redact(item, key));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, redact(inner, name)]));
  }
  if (typeof value !== 'string') return value;
  if (secretKeys.test(key) && !pathKeys.test(key)) return '[redacted]';
  return value
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/?#\s]+@/gi, '$1[redacted]@')
    .replace(parameter, (all, before: string, name: string) => (isSecretUnder['query']!(name) ? `${before}${name}=[redacted]` : all));
}

/** Of what is set or compared under names of clients; `set`, `exact` and the like around or behind them are no names of secrets. */
function redactUnder(value: unknown, isSecretName: (name: string) => boolean, isSecret = false): unknown {
  if (Array.isArray(value)) return value.map((item) => redactUnder(item, isSecretName, isSecret));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, redactUnder(inner, isSecretName, isSecret || isSecretName(name))]));
  }
  return isSecret && typeof value === 'string' ? '[redacted]' : redact(value);
}
