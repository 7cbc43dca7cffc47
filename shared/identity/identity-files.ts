import { join } from 'node:path';
import type { IdentityConfig } from '../config/identity.js';

/** Paths of PEM files that make up an identity. Certificate and key may be one file, so that they are exchanged together. */
export interface IdentityFiles {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}

/** Where an identity's files are, or will be once it is enrolled. */
export function identityFiles(config: IdentityConfig): IdentityFiles {
  if ('cert' in config) return { cert: config.cert, key: config.key, bundle: config.bundle };
  const pair = join(config.directory, 'identity.pem');
  return { cert: pair, key: pair, bundle: join(config.directory, 'bundle.pem') };
}
