import { createHash, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '../../shared/config/load.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { LastGood } from '../../shared/tls/last-good.js';
import type { PemFiles, PemStore } from '../../shared/tls/pem-store.js';
import type { TokenConfig } from './access-config.js';
import type { Caller } from './access.js';

interface Entry {
  readonly digest: Buffer;
  readonly caller: Caller;
}

/**
 * Who shows which token. Digests are compared, and always all of them: how long it takes says neither how much of a token was right
 * nor whose it is.
 */
export class TokenTable {
  readonly #entries: LastGood<readonly Entry[]>;

  /** `files` keeps the contents of token files up to date. Throws if one cannot be read, or if two tokens are the same. */
  constructor(
    private readonly configs: readonly TokenConfig[],
    files: PemStore,
    logger: Logger,
  ) {
    const paths = configs.flatMap(({ tokenFile }) => tokenFile ?? []);
    this.#entries = new LastGood(files, paths, (read) => this.#load(read), (error) => {
      if (error === undefined) logger.info('token files were read again');
      else logger.error({ reason: error.message }, 'the new token files cannot be used; the old tokens stay');
    });
  }

  find(token: string): Caller | undefined {
    const digest = sha256(token);
    let found: Caller | undefined;
    for (const entry of this.#entries.value) if (timingSafeEqual(entry.digest, digest)) found = entry.caller;
    return found;
  }

  #load(files: PemFiles): Entry[] {
    const entries = this.configs.map(({ name, role, token, tokenFile, sha256: digest, service, gateway, node }) => ({
      digest: digest === undefined ? sha256(token ?? files.read(tokenFile!).toString('utf8').trim()) : Buffer.from(digest, 'hex'),
      caller: { name, role, service, isGateway: gateway === true, node },
    }));
    entries.forEach(({ digest, caller }, index) => {
      const other = entries.findIndex((entry) => entry.digest.equals(digest));
      if (other < index) throw new ConfigError([{ path: `access.tokens[${index}]`, message: `${caller.name} and ${entries[other]!.caller.name} have the same token: it would not be known who shows it` }]);
    });
    return entries;
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
