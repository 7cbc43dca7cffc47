import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { LastGood } from '../../tls/last-good.js';
import type { PemStore } from '../../tls/pem-store.js';
import type { KeySet, KeySetEvent } from './jwks.js';

/**
 * The keys in a file, kept up to date as certificates are: one that is taken out of it is believed no longer than until the next look. A file
 * that is gone, or comes to hold something else, leaves the keys before in use.
 */
export class FileKeySet implements KeySet {
  version = 0;
  readonly #keys: LastGood<JWTVerifyGetKey>;

  /** `onEvent` hears of each change of the file. Throws if there is no key set in it. */
  constructor(path: string, files: PemStore, onEvent: ((event: KeySetEvent) => void) | undefined) {
    const onReload = (error: Error | undefined): void => {
      if (error === undefined) this.version++;
      onEvent?.(error === undefined ? { kind: 'fetched' } : { kind: 'stale', error });
    };
    this.#keys = new LastGood(files, [path], (pems) => keysIn(path, pems.read(path)), onReload);
  }

  readonly getKey: JWTVerifyGetKey = (header, token) => this.#keys.value(header, token);

  close(): void {
    this.#keys.close();
  }
}

function keysIn(path: string, contents: Buffer): JWTVerifyGetKey {
  try {
    return createLocalJWKSet(JSON.parse(contents.toString()) as JSONWebKeySet);
  } catch (cause) {
    throw new Error(`${path} holds no key set: expected { "keys": [ … ] } (RFC 7517 section 5)`, { cause });
  }
}
