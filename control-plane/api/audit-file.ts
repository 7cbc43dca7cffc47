import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from '../../shared/telemetry/logger.js';

/** A file that lines are appended to. What it does not take, a full disk's, is kept and goes before the next. */
export class AuditFile {
  #file: number;
  #unwritten: Buffer = Buffer.alloc(0);
  #isFailing = false;

  /** Throws if the file cannot be opened. */
  constructor(
    private readonly path: string,
    private readonly logger: Logger,
  ) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#file = this.#open();
  }

  /** Whether it has taken everything so far. */
  get isWritten(): boolean {
    return this.#unwritten.length === 0;
  }

  write(line: string): void {
    this.#unwritten = Buffer.concat([this.#unwritten, Buffer.from(line)]);
    this.flush();
  }

  /** Tries what is kept once more; after a failure with the file opened anew, since another may be in its place. */
  flush(): void {
    const wasFailing = this.#isFailing;
    try {
      if (wasFailing) this.#reopen();
      while (this.#unwritten.length > 0) this.#unwritten = this.#unwritten.subarray(writeSync(this.#file, this.#unwritten));
      this.#isFailing = false;
      if (wasFailing) this.logger.info('the audit log can be written again');
    } catch (error) {
      this.#isFailing = true;
      if (!wasFailing) this.logger.error({ err: error }, 'the audit log cannot be written: changes are refused until it can');
    }
  }

  close(): void {
    this.flush();
    closeSync(this.#file);
  }

  #open(): number {
    return openSync(this.path, 'a', 0o600);
  }

  #reopen(): void {
    const file = this.#open();
    closeSync(this.#file);
    this.#file = file;
  }
}
