import type { ProxyError } from './proxy-error.js';

const maxLength = 200;

/**
 * What happened underneath an error, for the log: the message of its cause, with its code where the message does not name it, in at most 200
 * characters. Nothing else that hangs on a cause, such as whole certificates. Undefined where there is none.
 */
export function reasonOf({ cause }: Error): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  const { message } = cause;
  const { code } = cause as { readonly code?: unknown };
  // What was tried at several addresses has a code and no message.
  const text = typeof code !== 'string' || message.includes(code) ? message : message === '' ? code : `${code}: ${message}`;
  return text === '' ? undefined : text.slice(0, maxLength);
}

/** Of an error whose reason belongs in the access log: the upstream is to blame, or descriptors have run out. All others tell theirs at level `debug`. */
export function loggedReasonOf(error: ProxyError): string | undefined {
  return error.entry.blamesUpstream || error.code === 'resources_exhausted' ? reasonOf(error) : undefined;
}
