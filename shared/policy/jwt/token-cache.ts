import { hash } from 'node:crypto';

interface Entry<T> {
  readonly value: T;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
}

/**
 * Remembers what tokens were found to say, by digest, until they expire: verifying a signature costs a hundred
 * times a lookup. Bounded; the least recently used is forgotten first. Tokens themselves are not kept.
 */
export class TokenCache<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #maxEntries: number;

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  static digest(token: string): string {
    return hash('sha256', token, 'base64');
  }

  get(digest: string, wallNow: number): T | undefined {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    this.#entries.delete(digest);
    if (entry.expiresAt <= wallNow) return undefined;
    this.#entries.set(digest, entry);
    return entry.value;
  }

  set(digest: string, value: T, expiresAt: number): void {
    this.#entries.set(digest, { value, expiresAt });
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
  }

  clear(): void {
    this.#entries.clear();
  }
}
