import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { PemFiles, PemStore } from '../../tls/pem-store.js';
import type { KeySet, KeySetEvent } from './jwks.js';

/**
 * The keys in a file, kept up to date as certificates are: one that is taken out of it is believed no longer than until the next look. A file
 * that is gone, or comes to hold something else, leaves the keys before in use.
 */
export class FileKeySet implements KeySet {
  version = 0;
  #keys: JWTVerifyGetKey;
  readonly #file: PemFiles;

  /** `onEvent` hears of each change of the file. Throws if there is no key set in it. */
  constructor(
    private readonly path: string,
    files: PemStore,
    private readonly onEvent: ((event: KeySetEvent) => void) | undefined,
  ) {
    this.#file = files.open([path], () => this.#reload());
    try {
      this.#keys = this.#load();
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  readonly getKey: JWTVerifyGetKey = (header, token) => this.#keys(header, token);

  close(): void {
    this.#file.close();
  }

  #reload(): void {
    try {
      this.#keys = this.#load();
    } catch (error) {
      this.onEvent?.({ kind: 'stale', error });
      return;
    }
    this.version++;
    this.onEvent?.({ kind: 'fetched' });
  }

  #load(): JWTVerifyGetKey {
    const contents = this.#file.read(this.path).toString();
    try {
      return createLocalJWKSet(JSON.parse(contents) as JSONWebKeySet);
    } catch (cause) {
      throw new Error(`${this.path} holds no key set: expected { "keys": [ … ] } (RFC 7517 section 5)`, { cause });
    }
  }
}
