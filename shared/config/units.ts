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

/** `host:port`, with an IPv6 host in brackets. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** An address, from `host:port` or `[v6]:port`; port 1 to 65535. */
export const address = z
  .string()
  .transform((value, context): Address => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})$/.exec(value);
    const port = match === null ? 0 : Number(match[3]);
    if (match !== null && port >= 1 && port <= 65535) return { host: match[1] ?? match[2]!, port };
    context.addIssue({
      code: 'custom',
      message: `expected an address host:port with a port from 1 to 65535, got ${JSON.stringify(value)}`,
      input: value,
    });
    return z.NEVER;
  })
  .meta({ description: 'An address: host:port, or [v6]:port.' });

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
