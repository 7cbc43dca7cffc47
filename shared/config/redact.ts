const secretKeys = /^(?:.*(?:password|secret|token|credential|authorization|apikey|api_key|api-key|privatekey|private_key)|d|p|q|dp|dq|qi|k)$/i;
const pathKeys = /(?:file|path|uri|url)$/i;

/**
 * A copy of a document that is fit to be shown: values under keys that name secrets are replaced, private parts of
 * keys (RFC 7518) included, and passwords are cut out of addresses. Paths of files that hold secrets stay.
 */
export function redact(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => redact(item, key));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, redact(inner, name)]));
  }
  if (typeof value !== 'string') return value;
  if (secretKeys.test(key) && !pathKeys.test(key)) return '[redacted]';
  return value.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/@\s]+@/gi, '$1[redacted]@');
}
