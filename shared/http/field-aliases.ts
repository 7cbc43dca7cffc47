import type { Headers } from './headers.js';

/**
 * Removes what an application may read as one of `names` though it is written otherwise: `X_Tenant` as `X-Tenant`, and the other way round
 * (see `kindsOf`). Fields of these very names stay. Undefined when there is nothing that could be mistaken for them.
 */
export function aliasRemoval(names: readonly string[]): ((headers: Headers) => void) | undefined {
  const named = new Set(names.map((name) => name.toLowerCase()));
  const readAs = new Set([...named].map(withHyphens).filter((name) => name.includes('-')));
  if (readAs.size === 0) return undefined;
  const isAlias = (name: string): boolean => !named.has(name) && readAs.has(withHyphens(name));
  const hyphened = [...readAs].filter((name) => !named.has(name));
  return (headers) => {
    headers.deleteUnderscoredIf(isAlias);
    for (const name of hyphened) headers.delete(name);
  };
}

/** As an application reads a name that cannot tell `_` from `-`. */
export function withHyphens(name: string): string {
  return name.replaceAll('_', '-');
}
