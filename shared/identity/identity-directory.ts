import { readFile } from 'node:fs/promises';
import type { EnrolledIdentityConfig } from '../config/identity.js';
import { certificatesIn, isIssuedUnder, readIdentity, type HeldIdentity } from './held-identity.js';
import { identityFiles } from './identity-files.js';
import { privateDirectory, removeLeftovers, writeDurably } from '../files/write-durably.js';

/** The directory where an identity is kept: `identity.pem` (key and chain in one, so that they change together) and `bundle.pem`. */
export class IdentityDirectory {
  readonly #pair: string;
  readonly #bundle: string;

  constructor(private readonly config: EnrolledIdentityConfig) {
    const { cert, bundle } = identityFiles(config);
    this.#pair = cert;
    this.#bundle = bundle;
  }

  /** Makes it its owner's alone, and clears away what a crash left. */
  async prepare(): Promise<void> {
    await privateDirectory(this.config.directory);
    await Promise.all([removeLeftovers(this.#pair), removeLeftovers(this.#bundle)]);
  }

  /** What is there, or the reason why it cannot be used; undefined if nothing is there. */
  async read(): Promise<{ readonly identity: HeldIdentity; readonly bundle: string } | { readonly problem: string } | undefined> {
    let texts: [pair: string, bundle: string];
    try {
      texts = await Promise.all([readFile(this.#pair, 'utf8'), readFile(this.#bundle, 'utf8')]);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      return code === 'ENOENT' ? undefined : { problem: `a file cannot be read (${code})` };
    }
    try {
      const identity = readIdentity(texts[0]);
      if (!isIssuedUnder(identity, texts[1])) return { problem: 'its certificate does not come from a root of its bundle' };
      return { identity, bundle: texts[1] };
    } catch (error) {
      return { problem: (error as Error).message };
    }
  }

  writeIdentity(pem: string): Promise<void> {
    return writeDurably(this.#pair, pem);
  }

  /** Throws if there is no certificate in it. */
  async writeBundle(pem: string): Promise<void> {
    if (certificatesIn(pem).length === 0) throw new Error('the trust bundle is empty');
    await writeDurably(this.#bundle, pem);
  }
}
