import { RE2JS } from 're2js';
import type { PathMatch } from '../../config/authorization.js';

/** Whether a decoded path is one of these. */
export function pathMatcher(matches: readonly PathMatch[]): (path: string) => boolean {
  const texts = matches.filter((match) => typeof match === 'string');
  const others = matches.filter((match) => typeof match !== 'string');
  const exact = new Set(others.flatMap(({ exact }) => exact ?? []));
  const below = texts.filter((text) => text.endsWith('/*')).map((text) => text.slice(0, -1));
  const prefixes = texts.filter((text) => !text.endsWith('/*')).map((text) => text.replace(/\/$/, ''));
  // A dot is any character here: a line break in a path, escaped, must not be a way around a pattern.
  const patterns = others.flatMap(({ regex }) => (regex === undefined ? [] : [RE2JS.compile(regex, RE2JS.DOTALL)]));
  return (path) => {
    if (exact.has(path)) return true;
    for (const prefix of prefixes) if (isAtOrBelow(path, prefix)) return true;
    for (const start of below) if (path.startsWith(start)) return true;
    for (const pattern of patterns) if (pattern.testExact(path)) return true;
    return false;
  };
}

const slash = 0x2f;

function isAtOrBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === slash);
}
