/** A host as TLS names it: without the dot by which the DNS tells that it is whole (RFC 6066 section 3). */
export function withoutDot(host: string): string {
  return host.endsWith('.') ? host.slice(0, -1) : host;
}
