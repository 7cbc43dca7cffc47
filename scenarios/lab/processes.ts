import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { once } from 'node:events';

interface ProcessOptions {
  readonly id: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Where stdout and stderr go. */
  readonly logFile: string;
  /** Started again this long after it ended by itself (ms); without it, it stays down. */
  readonly restartDelayMs?: number | undefined;
}

const stopGraceMs = 6_000;
const lastWordsLength = 1_500;

/** A child process: started, started again when it may be, and stopped for good. */
export class ManagedProcess {
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(readonly options: ProcessOptions) {
    this.#start();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Exit code or signal, when it last ended without being told to; it may have been started again. */
  ended: string | undefined;

  /** The end of its log. */
  lastWords(): string {
    return readFileSync(this.options.logFile, 'utf8').slice(-lastWordsLength).trimEnd();
  }

  /** Asks it to stop, and kills it if it does not. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
    await gone;
    clearTimeout(timer);
  }

  /** Kills it at once as a crash would: it is started again if it may be. */
  crash(): void {
    this.#child?.kill('SIGKILL');
  }

  /** Kills it at once: for when this process itself must go. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#restart);
    this.#child?.kill('SIGKILL');
  }

  #start(): void {
    const { command, args, environment, logFile, restartDelayMs } = this.options;
    const log = openSync(logFile, 'a');
    const child = spawn(command, args, { stdio: ['ignore', log, log], env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production', ...environment } });
    closeSync(log);
    this.#child = child;
    child.on('error', (error) => (this.ended = error.message));
    child.on('exit', (code, signal) => {
      if (this.#stopping) return;
      this.ended = signal ?? `exit code ${code}`;
      if (restartDelayMs !== undefined) this.#restart = setTimeout(() => this.#start(), restartDelayMs);
    });
  }
}
