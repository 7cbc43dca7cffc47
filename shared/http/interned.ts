/**
 * The engine's one copy of a string: it is compared by address, and keeps no head alive that it was cut from. What is kept beyond
 * its message has to be such a copy.
 */
export function interned(text: string): string {
  return Object.keys({ [text]: true })[0]!;
}
