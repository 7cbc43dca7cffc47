import { createLocalJWKSet, errors, jwtVerify, type JSONWebKeySet, type JWTVerifyGetKey, type JWTVerifyOptions, type JWTVerifyResult } from 'jose';
import { systemClock, type Clock, type Timer } from '../../clock/clock.js';
import { LastKnown, type Known } from '../../config/last-known.js';
import type { JwtConfig } from '../../config/policies.js';
import { readFileBounded } from '../../files/read-file.js';
import { HttpClient, isSuccess } from '../../http-client/http-client.js';

/** The keys that tokens are verified with. */
export interface KeySet {
  /** Resolves a token's key; rejects with jose's `JWKSNoMatchingKey` or, where that cannot be known since they could not be fetched, `KeysUnavailable`. */
  readonly getKey: JWTVerifyGetKey;
  /** Changes whenever the keys do: what was verified under another version must be verified again. */
  readonly version: number;
  /** Stops whatever keeps it up to date. */
  close(): void;
}

export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';
}

export type KeySetEvent = { readonly kind: 'fetched' } | { readonly kind: 'stale' | 'unavailable'; readonly error: unknown };

/** A key set that is given: the set itself, or the path of a file with it, read once. */
export async function localKeySet(jwks: string | object): Promise<KeySet> {
  const set = typeof jwks === 'string' ? (JSON.parse((await readFileBounded(jwks)).toString()) as JSONWebKeySet) : (jwks as JSONWebKeySet);
  return { getKey: createLocalJWKSet(set), version: 0, close: () => {} };
}

/** Keys that are tried for a token that names none: while keys are exchanged an issuer publishes two, seldom more. */
const maxKeys = 8;

/** Verifies a token with the key that it names, or, if it names none and several fit, with each of them in turn. Rejects as jose's `jwtVerify` does. */
export async function verifyToken(token: string, keys: KeySet, options: JWTVerifyOptions): Promise<JWTVerifyResult> {
  try {
    return await jwtVerify(token, keys.getKey, options);
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    let tried = 0;
    for await (const key of error) {
      if (++tried > maxKeys) break;
      const result = await jwtVerify(token, key, options).catch((reason: unknown) => {
        if (!(reason instanceof errors.JWSSignatureVerificationFailed)) throw reason;
      });
      if (result !== undefined) return result;
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

interface RemoteKeySetDependencies {
  readonly clock: Clock;
  readonly fetchJson: (url: string, timeoutMs: number) => Promise<unknown>;
  readonly onEvent: ((event: KeySetEvent) => void) | undefined;
  readonly lastKnown?: LastKnown | undefined;
}

/**
 * The keys that an issuer publishes.
 *
 * Fetched on first use, from then on whenever they are as old as `cacheMaxAge`, whoever asks or nobody: a key that is withdrawn must not
 * live on where only tokens come that were seen before. And again for a `kid` that they do not have, which is what a rotated key looks like. However many tokens ask, one fetch runs at a time, and after
 * one, successful or not, none for an unknown `kid` for `cooldown`: made-up kids cannot be turned into load on the
 * issuer. While it cannot be reached the last keys go on serving, those of whoever was here before too, and whether there is a key that they do not have is not known.
 */
export class RemoteKeySet implements KeySet {
  version = 0;
  #keys: JWTVerifyGetKey | undefined;
  #text = '';
  #fetchedAt = -Infinity;
  #triedAt = -Infinity;
  #fetching: Promise<void> | undefined;
  /** The last fetch did. */
  #hasFailed = false;
  #next: Timer | undefined;
  readonly #known: Known<JSONWebKeySet>;
  #isClosed = false;

  constructor(
    private readonly config: JwtConfig & { jwksUri: string },
    private readonly dependencies: RemoteKeySetDependencies,
  ) {
    this.#known = (dependencies.lastKnown ?? new LastKnown()).open(`keys ${config.jwksUri}`);
    // As old as keys may be, so that the first to ask has them fetched.
    if (this.#known.value !== undefined) this.#keys = createLocalJWKSet(this.#known.value);
  }

  readonly getKey: JWTVerifyGetKey = async (header, token) => {
    const now = this.dependencies.clock.now();
    if (this.#keys === undefined) {
      await this.#refresh(now - this.#triedAt >= unreachableRetryMs);
    } else if (now - this.#fetchedAt >= this.config.cacheMaxAge && now - this.#triedAt >= unreachableRetryMs) {
      // Old keys still serve: nobody waits for the new ones.
      void this.#refresh(true);
    }
    if (this.#keys === undefined) throw new KeysUnavailable('the issuer’s keys could not be fetched yet');
    try {
      return await this.#keys(header, token);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_JWKS_NO_MATCHING_KEY') throw error;
      await this.#refresh(this.dependencies.clock.now() - this.#triedAt >= this.config.cooldown);
      if (this.#hasFailed) throw new KeysUnavailable('the issuer’s newest keys could not be fetched');
      return this.#keys(header, token);
    }
  };

  close(): void {
    this.#isClosed = true;
    this.#next?.cancel();
    this.#known.close();
  }

  /** Joins the fetch that runs, or starts one if `mayStart`. Never rejects: keys that are there stay. */
  #refresh(mayStart: boolean): Promise<void> {
    if (this.#fetching === undefined && mayStart) {
      this.#triedAt = this.dependencies.clock.now();
      this.#fetching = this.#fetch().finally(() => {
        this.#fetching = undefined;
      });
    }
    return this.#fetching ?? Promise.resolve();
  }

  async #fetch(): Promise<void> {
    const { onEvent, fetchJson, clock } = this.dependencies;
    try {
      const set = (await fetchJson(this.config.jwksUri, this.config.fetchTimeout)) as JSONWebKeySet;
      const keys = createLocalJWKSet(set);
      const text = JSON.stringify(set);
      if (text !== this.#text) this.version++;
      this.#text = text;
      this.#keys = keys;
      this.#known.value = set;
      this.#hasFailed = false;
      this.#fetchedAt = clock.now();
      this.#fetchIn(this.config.cacheMaxAge);
      onEvent?.({ kind: 'fetched' });
    } catch (error) {
      this.#hasFailed = true;
      // Without keys whoever needs some asks.
      if (this.#keys !== undefined) this.#fetchIn(Math.max(unreachableRetryMs, this.config.cacheMaxAge / 10));
      onEvent?.({ kind: this.#keys === undefined ? 'unavailable' : 'stale', error });
    }
  }

  #fetchIn(ms: number): void {
    this.#next?.cancel();
    if (!this.#isClosed) this.#next = this.dependencies.clock.after(ms, () => void this.#refresh(true));
  }
}

/** While the issuer is away it is asked again this often (ms). */
const unreachableRetryMs = 1_000;
const maxJwksBytes = 1_048_576;

/** Fetches a JSON document of at most 1 MiB; redirects are refused. */
export async function fetchJson(url: string, timeoutMs: number): Promise<unknown> {
  const client = new HttpClient(systemClock, { connectTimeoutMs: timeoutMs, answerTimeoutMs: timeoutMs });
  try {
    const answer = await client.ask(url, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(timeoutMs) });
    if (!isSuccess(answer.status)) throw new Error(`${url} answered ${answer.status}`);
    return JSON.parse(await answer.text(maxJwksBytes));
  } finally {
    client.close();
  }
}
