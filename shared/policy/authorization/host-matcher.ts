import type { HttpRequest } from '../../http/message.js';
import { hostOf } from '../../routing/route-table.js';

/** The host that is asked for, without port and without the dot that ends a full name; undefined when none is said. */
export function hostRead({ authority }: HttpRequest): string | undefined {
  const host = hostOf(authority);
  return host === '' ? undefined : host.endsWith('.') ? host.slice(0, -1) : host;
}

/** Whether a host is one of these, or below one of those that begin with `*.`. */
export function hostMatcher(hosts: readonly string[]): (host: string) => boolean {
  const exact = new Set(hosts);
  const suffixes = hosts.filter((host) => host.startsWith('*.')).map((host) => host.slice(1));
  return (host) => {
    if (exact.has(host)) return true;
    for (const suffix of suffixes) if (host.length > suffix.length && host.endsWith(suffix)) return true;
    return false;
  };
}
