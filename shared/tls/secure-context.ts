import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';

/** As `createSecureContext`, but what it throws names the files. */
export function secureContext(options: SecureContextOptions, files: readonly string[]): SecureContext {
  try {
    return createSecureContext(options);
  } catch (error) {
    throw new Error(`${files.join(' with ')}: ${(error as Error).message}`, { cause: error });
  }
}
