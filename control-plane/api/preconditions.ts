import { z } from 'zod';
import { ConfigError } from '../../shared/config/load.js';

/*
 * Optimistic concurrency (RFC 9110, sections 8.8.3 and 13.1). The tag of a resource is the version of the whole at which it was last changed; that of a list
 * is the version of the whole.
 */

const tag = (text: string) => z.string().max(1_024).optional().describe(text);

export const readHeaders = z.looseObject({ 'if-none-match': tag('Tags that the caller has: where one of them still holds, the answer is 304.') });
export const writeHeaders = z.looseObject({
  'if-match': tag('The tag that must still hold, or `*`: that there is one. Otherwise 412.'),
  'if-none-match': tag('`*`: that there is none yet. Otherwise 412.'),
});
export const wholeHeaders = z.looseObject({ 'if-match': tag('The tag that the whole (any list) must still have. Otherwise 412.') });

export function etag(version: number): string {
  return `"${version}"`;
}

/** Whether the caller has what is there already. */
export function isKnown(field: string | undefined, version: number): boolean {
  return field !== undefined && (field.trim() === '*' || versionsIn(field, true).includes(version));
}

/**
 * The version that must be there, by the fields of a request: 0 for none at all, undefined where any will do. `present` is the version that is there now. What can
 * never hold is -1.
 */
export function expectedVersion(fields: { readonly 'if-match'?: string | undefined; readonly 'if-none-match'?: string | undefined }, present: number): number | undefined {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = fields;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() !== '*' || ifMatch !== undefined) throw new ConfigError([{ path: 'If-None-Match', message: 'expected * alone, and no If-Match beside it, where something is changed' }]);
    return 0;
  }
  if (ifMatch === undefined) return undefined;
  if (ifMatch.trim() === '*') return present === 0 ? -1 : present;
  const versions = versionsIn(ifMatch, false);
  return versions.includes(present) ? present : (versions[0] ?? -1);
}

/** Tags of ours in a list; weak ones only where that is enough. 0 is nobody's. */
function versionsIn(field: string, isWeakEnough: boolean): number[] {
  return field.split(',').flatMap((each) => {
    const match = /^\s*(W\/)?"(\d{1,15})"\s*$/.exec(each);
    return match === null || (match[1] !== undefined && !isWeakEnough) || Number(match[2]) === 0 ? [] : [Number(match[2])];
  });
}
