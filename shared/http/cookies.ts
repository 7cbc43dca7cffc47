import type { Headers } from './headers.js';

/**
 * The value of a cookie of a request (RFC 6265 section 5.4), without the quotes that may stand around it; the first
 * one where several have the name.
 */
export function cookieOf(headers: Headers, name: string): string | undefined {
  if (!headers.has('cookie')) return undefined;
  // HTTP/2 clients may split the field, and what joins it again is not everywhere the same.
  for (const field of headers.getAll('cookie')) {
    for (const pair of field.split(';')) {
      const equals = pair.indexOf('=');
      if (equals === -1 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return undefined;
}
