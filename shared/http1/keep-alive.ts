import type { Headers } from '../http/headers.js';

const timeout = /(?<=^|[\s,;])timeout=(\d{1,9})(?=$|[\s,;])/gi;

/** How long (s) a peer says that it keeps the connection when nothing is sent on it (RFC 2068 section 19.7.1.1); the least, if it says it more than once. */
export function keepAliveSeconds(headers: Headers): number | undefined {
  const said = [...(headers.getCombined('keep-alive') ?? '').matchAll(timeout)].map(([, seconds]) => Number(seconds));
  return said.length === 0 ? undefined : Math.min(...said);
}

/** The field lines that tell a peer how long its connection is kept; empty if that is less than a second. */
export function keepAliveLines(idleTimeoutMs: number): string {
  const seconds = Math.floor(idleTimeoutMs / 1_000);
  return seconds === 0 ? '' : `Connection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n`;
}
