import { ConfigError } from '../config/load.js';
import type { Logger } from '../telemetry/logger.js';
import { LastGood } from '../tls/last-good.js';
import type { PemFiles, PemStore } from '../tls/pem-store.js';

/** The bearer token in a file, kept up to date as certificates are. A file that comes to hold something else leaves the token before in use. */
export class TokenFile {
  readonly #token: LastGood<string>;

  /** Throws a `ConfigError` if there is no token in the file. */
  constructor(
    private readonly path: string,
    files: PemStore,
    logger: Logger,
  ) {
    this.#token = new LastGood(files, [path], (file) => this.#load(file), (error) => {
      if (error === undefined) logger.info({ tokenFile: path }, 'the token for the control plane was read again');
      else logger.error({ reason: error.message }, 'the new token for the control plane cannot be used; the old one stays');
    });
  }

  get token(): string {
    return this.#token.value;
  }

  close(): void {
    this.#token.close();
  }

  #load(file: PemFiles): string {
    const token = this.#read(file).toString('latin1').trim();
    // RFC 6750, section 2.1, allows less; what cannot stand in a field is what must not come here.
    if (!/^[!-~]+$/.test(token)) throw this.#problem('expected one line with the token, of visible ASCII characters without spaces');
    return token;
  }

  #read(file: PemFiles): Buffer {
    try {
      return file.read(this.path);
    } catch (error) {
      throw this.#problem(`the file cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`);
    }
  }

  #problem(message: string): ConfigError {
    return new ConfigError([{ path: 'controlPlane.tokenFile', message }], this.path);
  }
}
