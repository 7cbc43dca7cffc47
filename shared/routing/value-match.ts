import { RE2JS } from 're2js';
import type { ValueMatch } from '../config/value-match.js';

/** Whether a value, or its absence, is what was asked for. */
type ValueMatcher = (value: string | undefined) => boolean;

/** Compiled once, when the configuration is applied. */
export function valueMatcher(match: ValueMatch): ValueMatcher {
  if (typeof match === 'string') return (value) => value === match;
  const { exact, prefix, regex, present } = match;
  if (exact !== undefined) return (value) => value === exact;
  if (prefix !== undefined) return (value) => value !== undefined && value.startsWith(prefix);
  if (present !== undefined) return (value) => (value !== undefined) === present;
  // A line break is a character like others: a condition must not be got around with one.
  const compiled = RE2JS.compile(regex!, RE2JS.DOTALL);
  return (value) => value !== undefined && compiled.testExact(value);
}
