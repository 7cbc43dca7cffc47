import { Buffer } from 'node:buffer';
import { pino, type Logger as PinoLogger } from 'pino';
import { systemClock } from '../clock/clock.js';
import { DescriptorWriter } from './descriptor-writer.js';

export type Logger = PinoLogger;

interface LoggerOptions {
  /** Which process speaks: `gateway`, `sidecar orders`. */
  readonly name: string;
  readonly level?: string;
  /** Where this process has its stderr; default: 2. */
  readonly descriptor?: number;
}

/** What a reader that does not keep up may leave lying (bytes); beyond it lines are lost, and counted. */
const maxWaitingBytes = 1_048_576;

/**
 * The process's log: JSON lines on stderr, so that stdout carries the access log alone. A line is written when the call returns, unless nobody
 * reads or the disk is full: that stalls and ends nothing. What is left is written when the process exits, and after a fatal line, while
 * somebody reads it.
 */
export function createLogger({ name, level = 'info', descriptor }: LoggerOptions): Logger {
  let lost = 0;
  const destination = {
    write(line: string) {
      if (!openStderr(descriptor).write(Buffer.from(line))) lost++;
      else if (lost > 0) tellLost();
    },
    flushSync: () => openStderr(descriptor).flush(),
  };
  const logger = pino(
    { name, level, base: { pid: process.pid }, redact: { paths: ['token', '*.token', 'headers.authorization', '*.headers.authorization'], censor: '[redacted]' } },
    destination,
  );
  const tellLost = (): void => {
    const lines = lost;
    lost = 0;
    logger.warn({ lines }, 'lines of this log were lost: they were not read in time');
    // If that was one more of them.
    if (lost > 0) lost += lines - 1;
  };
  return logger;
}

/** Writes text to stderr that is meant for whoever started the process; like its log, whatever stderr is. */
export function writeToStderr(text: string | Uint8Array): void {
  openStderr().write(Buffer.from(text));
}

/** A process has one, however many loggers. */
let stderr: DescriptorWriter | undefined;

function openStderr(descriptor = 2): DescriptorWriter {
  if (stderr === undefined) {
    const opened = new DescriptorWriter(descriptor, { clock: systemClock, maxWaitingBytes });
    process.once('exit', () => opened.flush());
    stderr = opened;
  }
  return stderr;
}

/** A log that nobody reads. */
export const silentLogger: Logger = pino({ level: 'silent' });
