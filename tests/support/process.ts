import { spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { patiently } from './patience.js';

const dist = fileURLToPath(new URL('../../', import.meta.url));

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Descriptors that a process writes to, where nobody here is to read what it says; and how many it may have. */
export interface Descriptors {
  readonly stdout?: number;
  readonly stderr?: number;
  readonly limit?: number;
}

/** One of our processes, started as its user would start it. */
export class TestProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  readonly directory = mkdtempSync(join(tmpdir(), 'process-test-'));
  stdout = '';
  stderr = '';
  /** And nothing that it said is on its way. */
  #hasEnded = false;
  /** Tells everyone who waits, and there may be several, that it said something or ended. */
  readonly #news = new EventEmitter<{ news: [] }>().setMaxListeners(0);

  constructor(entry: string, config: object | string | undefined, args: readonly string[] = [], environment: NodeJS.ProcessEnv = {}, descriptors: Descriptors = {}) {
    const file = join(this.directory, 'config.yaml');
    if (config !== undefined) writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
    const command = [process.execPath, join(dist, entry), ...(config === undefined ? [] : ['--config', file]), ...args];
    if (descriptors.limit !== undefined) command.unshift('sh', '-c', `ulimit -n ${descriptors.limit} && exec "$0" "$@"`);
    this.child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', descriptors.stdout ?? 'pipe', descriptors.stderr ?? 'pipe'], env: { ...process.env, ...environment } });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(() => (this.stdout += text)));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#take(() => (this.stderr += text)));
    this.exited = once(this.child, 'close').then(([code, signal]) => {
      rmSync(this.directory, { recursive: true, force: true });
      this.#hasEnded = true;
      this.#news.emit('news');
      return { code: code as number | null, signal: signal as NodeJS.Signals | null, stdout: this.stdout, stderr: this.stderr };
    });
  }

  /** Resolves with the `count`th log line that carries this message, once it is there. */
  logged(message: string, count = 1): Promise<Record<string, unknown>> {
    return this.#until(() => {
      const lines = wholeLines(this.stderr).filter((text) => text.includes(`"msg":"${message}"`));
      return lines.length < count ? undefined : (JSON.parse(lines[count - 1]!) as Record<string, unknown>);
    }, () => `it has not logged "${message}"${count === 1 ? '' : ` ${count} times`}`);
  }

  /** The access log so far, once it has at least `count` lines. */
  accessLog(count: number): Promise<Record<string, unknown>[]> {
    return this.#until(() => {
      const lines = wholeLines(this.stdout);
      return lines.length < count ? undefined : lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    }, () => `it has ${wholeLines(this.stdout).length} lines in its access log instead of ${count}`);
  }

  /** Exchanges the configuration file and tells the process so. */
  reload(config: object | string): void {
    writeFileSync(join(this.directory, 'config.yaml'), typeof config === 'string' ? config : JSON.stringify(config));
    this.child.kill('SIGHUP');
  }

  async stop(): Promise<Exit> {
    this.child.kill('SIGTERM');
    return patiently(this.exited, () => `it does not end:\n${this.stderr}`);
  }

  /** Looks again whenever it says something, but not for ever: it may have much to say of other things. */
  #until<T>(find: () => T | undefined, state: () => string): Promise<T> {
    const search = async (): Promise<T> => {
      for (;;) {
        const found = find();
        if (found !== undefined) return found;
        if (this.#hasEnded) throw new Error(`it has ended; ${state()}:\n${this.stderr}`);
        await once(this.#news, 'news');
      }
    };
    return patiently(search(), () => `${state()}:\n${this.stderr}`);
  }

  #take(keep: () => void): void {
    keep();
    this.#news.emit('news');
  }
}

/** Without what comes behind the last end of a line: the rest of it is on its way. */
function wholeLines(text: string): string[] {
  return text.split('\n').slice(0, -1).filter((line) => line !== '');
}

/** Ports in the `ready` line of a process. */
export function portIn(line: Record<string, unknown>, name: string): number {
  return (line[name] as { port: number }).port;
}
