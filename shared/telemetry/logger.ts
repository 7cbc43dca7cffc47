import { pino, type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

export interface LoggerOptions {
  /** Which process speaks: `gateway`, `sidecar orders`. */
  readonly name: string;
  readonly level?: string;
}

/** The process's log: JSON lines on stderr, so that stdout carries the access log alone. */
export function createLogger({ name, level = 'info' }: LoggerOptions): Logger {
  return pino(
    { name, level, base: { pid: process.pid }, redact: { paths: ['token', '*.token', 'headers.authorization', '*.headers.authorization'], censor: '[redacted]' } },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** A log that nobody reads. */
export const silentLogger: Logger = pino({ level: 'silent' });
