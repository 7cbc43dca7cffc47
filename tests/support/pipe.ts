import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A pipe with a name, of which a test holds both ends: it is read when the test says so, and not before. */
export class Pipe {
  readonly #directory = mkdtempSync(join(tmpdir(), 'pipe-test-'));
  readonly path = join(this.#directory, 'pipe');
  /** The end that others write to; writing to it waits for a reader, as with most pipes. */
  readonly fd: number;
  readonly #fd: number;

  constructor() {
    const { status, stderr } = spawnSync('mkfifo', [this.path], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    this.#fd = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
    this.fd = openSync(this.path, 'w');
  }

  /** What is in it now. */
  read(): string {
    const memory = Buffer.alloc(65_536);
    let text = '';
    while (couldBeDone(() => (text += memory.toString('latin1', 0, readSync(this.#fd, memory)))));
    return text;
  }

  /** Puts something into it until there is no room left. */
  fill(): void {
    for (const size of [4_096, 1]) while (couldBeDone(() => writeSync(this.#fd, Buffer.alloc(size, '.'))));
  }

  close(): void {
    closeSync(this.#fd);
    closeSync(this.fd);
    rmSync(this.#directory, { recursive: true });
  }
}

/** Whether it could be done now. */
export function couldBeDone(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
    throw error;
  }
}
