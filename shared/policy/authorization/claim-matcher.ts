import type { Caller } from '../../http/exchange.js';

/**
 * Whether a claim has one of these values, or is a list with one of them.
 *
 * A name with dots is a claim of that name, as issuers have them that use addresses for names, or else the way to a claim within
 * others. `scope` and `scp` are the words of the token's scope, in whichever claim and form they came.
 */
export function claimMatcher(name: string, values: readonly (string | number | boolean)[]): (caller: Caller) => boolean {
  // Issuers differ in whether a number or a truth value is one, or its text.
  const wanted = new Set(values.map(String));
  if (name === 'scope' || name === 'scp') {
    return ({ scopes }) => {
      for (const value of wanted) if (scopes.has(value)) return true;
      return false;
    };
  }
  const way = name.split('.');
  const isWanted = (value: unknown): boolean => (typeof value === 'string' ? wanted.has(value) : (typeof value === 'number' || typeof value === 'boolean') && wanted.has(String(value)));
  return ({ claims }) => {
    const claim = Object.hasOwn(claims, name) ? claims[name] : at(claims, way);
    if (!Array.isArray(claim)) return isWanted(claim);
    for (const value of claim) if (isWanted(value)) return true;
    return false;
  };
}

function at(claims: unknown, way: readonly string[]): unknown {
  let value = claims;
  for (const name of way) {
    // What objects inherit, and a list's length, is nothing that an issuer said.
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
