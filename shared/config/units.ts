import { isIP } from 'node:net';
import ms from 'ms';
import { z } from 'zod';

/** A duration: `250ms`, `2s`, `1 minute`, or a number of milliseconds. Parsed to milliseconds. */
export const duration = z
  .union([z.string(), z.number()])
  .transform((value, context) => {
    const parsed = typeof value === 'number' ? value : parseDuration(value);
    if (parsed !== undefined && Number.isFinite(parsed) && parsed >= 0 && parsed <= 2 ** 31 - 1) return parsed;
    context.addIssue({
      code: 'custom',
      message: `expected a duration such as 250ms, 2s or 1m, got ${JSON.stringify(value)}`,
      input: value,
    });
    return z.NEVER;
  })
  .meta({ description: 'A duration: 250ms, 2s, 1m, or a number of milliseconds.' });

/** One of at least so much (ms): what would be less has another unit, or was meant to say "none" where that cannot be said. */
export const durationFrom = (least: number) => duration.refine((ms) => ms >= least, { error: ({ input }) => `expected at least ${least}ms, got ${String(input)}ms` });

function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  return /^\d+(\.\d+)?\s*[a-z]+$/i.test(trimmed) ? ms(trimmed as ms.StringValue) : undefined;
}

const sizeUnits: Readonly<Record<string, number>> = {
  b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, '': 1,
};

/** A size: `64KiB`, `10MiB`, `1MB`, or a number of bytes. Parsed to bytes. */
export const size = z
  .union([z.string(), z.number()])
  .transform((value, context) => {
    const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(String(value).trim());
    const unit = match === null ? undefined : sizeUnits[match[2]!.toLowerCase()];
    if (match !== null && unit !== undefined) return Math.round(Number(match[1]) * unit);
    context.addIssue({
      code: 'custom',
      message: `expected a size such as 64KiB, 1MB or a number of bytes, got ${JSON.stringify(value)}`,
      input: value,
    });
    return z.NEVER;
  })
  .meta({ description: 'A size: 64KiB, 10MiB, 1MB, or a number of bytes.' });

/** One of at least so much (bytes). */
export const sizeFrom = (least: number) => size.refine((bytes) => bytes >= least, { error: ({ input }) => `expected at least ${least} bytes, got ${String(input)}` });

/** Where something listens: a TCP port, or the path of a Unix domain socket. */
export type Address = TcpAddress | { readonly path: string; readonly host?: undefined; readonly port?: undefined };

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
  readonly path?: undefined;
}

function parseTcp(value: string): TcpAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})$/.exec(value);
  const port = match === null ? 0 : Number(match[3]);
  return match !== null && port >= 1 && port <= 65535 ? { host: match[1] ?? match[2]!, port } : undefined;
}

function addressOf<T extends Address>(parse: (value: string) => T | undefined, forms: string) {
  return z
    .string()
    .transform((value, context): T => {
      const parsed = parse(value);
      if (parsed !== undefined) return parsed;
      context.addIssue({ code: 'custom', message: `expected an address ${forms}, got ${JSON.stringify(value)}`, input: value });
      return z.NEVER;
    })
    .meta({ description: `An address: ${forms}.` });
}

/** An address, from `host:port` or `[v6]:port`; port 1 to 65535. */
export const tcpAddress = addressOf(parseTcp, 'host:port with a port from 1 to 65535');

/** Longest path of a Unix domain socket (bytes) that every system takes, less one for its end: sockaddr_un of BSD and macOS has 104, that of Linux 108. Node cuts what is longer without a word. */
const maxSocketPath = 103;

/** Whether a Unix domain socket can have this path. */
export const isSocketPath = (path: string): boolean => path.startsWith('/') && path.length > 1 && !path.includes('\0') && Buffer.byteLength(path) <= maxSocketPath;

/** A TCP address, or `unix:/path` for a Unix domain socket. */
export const address = addressOf<Address>(
  (value) => (value.startsWith('unix:') && isSocketPath(value.slice(5)) ? { path: value.slice(5) } : parseTcp(value)),
  'host:port with a port from 1 to 65535, or unix:/path of at most 103 bytes',
);

export function formatAddress(address: Address): string {
  if (address.path !== undefined) return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whom a request names that names nobody, as HTTP/1.0 may: the path of a socket is no host (RFC 9112 section 3.2). */
export function authorityOf(address: Address): string {
  return address.path === undefined ? formatAddress(address) : 'localhost';
}

/** An IP address or a CIDR, such as 10.0.0.0/8. */
export const network = z
  .string()
  .refine(isNetwork, { error: ({ input }) => `expected an address or a CIDR such as 10.0.0.0/8, got ${JSON.stringify(input)}` })
  .meta({ description: 'An IP address or a CIDR: 10.0.0.0/8.' });

function isNetwork(value: string): boolean {
  const [address, prefix, ...rest] = value.split('/');
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address!)]!;
  return rest.length === 0 && bits > 0 && (prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits));
}

/** An address that anybody may see: it is shown with the configuration, and logged. */
export const openUrl = z.url({ protocol: /^https?$/ }).refine((text) => !URL.canParse(text) || !hasCredentials(new URL(text)), { error: 'must not contain a user or a password: it is shown and logged' });

function hasCredentials({ username, password }: URL): boolean {
  return username !== '' || password !== '';
}

/** Whether a path is as the listener leaves it. */
export function isNormalPath(path: string): boolean {
  return !/\/\/|\/\.{1,2}(?:\/|$)/.test(path);
}

export const notNormal = 'must not contain // or dot segments: no request has them by the time it is looked at';
