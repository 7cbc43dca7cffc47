const secretKeys = /^(?:.*(?:password|secret|token|credential|authorization|apikey|api_key|api-key|privatekey|private_key)|d|p|q|dp|dq|qi|k)$/i;
const pathKeys = /(?:file|path|uri|url)$/i;

/** Names of header fields whose values are usually secrets; the harmless ones among those that sound so come first. */
const secretFields =
  /^(?!access-control-|(?:idempotency|surrogate|cache|sec-websocket)-key$)(?:(?:.*-)?(?:auth|authorization|cookie|key|keys)|.*-auth-.*|auth-.*|.*(?:token|secret|password|passwd|apikey|api[-_]key|credential|signature).*)$/i;

/**
 * A copy of a document that is fit to be shown: values under keys that name secrets are replaced, private parts of
 * keys (RFC 7518) included, and passwords are cut out of addresses. Paths of files that hold secrets stay. Under `headers` keys name fields,
 * and all of what a field that holds secrets is set to, or compared with, is replaced.
 */
export function redact(value: unknown, key = ''): unknown {
  if (key === 'headers') return redactFields(value);
  if (Array.isArray(value)) return value.map((item) => redact(item, key));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, redact(inner, name)]));
  }
  if (typeof value !== 'string') return value;
  if (secretKeys.test(key) && !pathKeys.test(key)) return '[redacted]';
  return value.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/@\s]+@/gi, '$1[redacted]@');
}

/** Of what is set in fields, and of what they must hold; `set` and the like around the fields are no names of secrets. */
function redactFields(value: unknown, isSecret = false): unknown {
  if (Array.isArray(value)) return value.map((item) => redactFields(item, isSecret));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, redactFields(inner, isSecret || secretFields.test(name))]));
  }
  return isSecret && typeof value === 'string' ? '[redacted]' : redact(value);
}
