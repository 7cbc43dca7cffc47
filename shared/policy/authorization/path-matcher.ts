import { RE2JS } from 're2js';
import type { PathMatch } from '../../config/authorization.js';

/*
 * One path, one spelling. The listener has normalised the path (shared/http1/target.ts): no dot segments, no double slashes, no
 * parameters, no escaped slash. What is left are escapes of characters that need none for some and do for others (`%21`, `%7E`), and
 * that every server decodes. So what is compared is the decoded text.
 */

/** A path as its server will read it. */
export function decodedPath(path: string): string {
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    // No UTF-8: what is not, becomes a replacement character, and the rest can still be matched.
    const bytes = path.replace(/%([0-9A-F]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
    return Buffer.from(bytes, 'latin1').toString('utf8');
  }
}

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
