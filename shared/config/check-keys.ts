import { readFileBoundedSync, whyUnreadable } from '../files/read-file.js';
import { isObject } from './is-object.js';
import type { Problem } from './load.js';

/** A key set that cannot be read is a wrong configuration and not a failed start. Takes whatever has a `jwt`, also a wrong one. */
export function checkKeys(own: unknown, path: string): Problem[] {
  const jwt = isObject(own) ? own['jwt'] : undefined;
  const file = isObject(jwt) ? jwt['jwks'] : undefined;
  if (typeof file !== 'string') return [];
  const refuse = (message: string): Problem[] => [{ path: `${path}.jwt.jwks`, message }];
  try {
    const set: unknown = JSON.parse(readFileBoundedSync(file).toString());
    return isObject(set) && Array.isArray(set['keys']) ? [] : refuse('the file holds no key set: expected { "keys": [ … ] } (RFC 7517 section 5)');
  } catch (error) {
    return refuse(error instanceof SyntaxError ? 'the file holds no JSON' : `the file cannot be read (${whyUnreadable(error)})`);
  }
}
