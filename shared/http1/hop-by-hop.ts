import { fieldKind, kindsOf } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';

/** Removes the fields that must not be forwarded (RFC 9110 section 7.6.1). Framing has been read from them before. */
export function removeHopByHop(headers: Headers): void {
  if (!headers.hasKind(fieldKind.hopByHop)) return;
  const options = headers.getCombined('connection')?.toLowerCase();
  if (options !== undefined) {
    if (options !== 'keep-alive' && options !== 'close') {
      for (const option of options.split(',')) {
        const name = option.trim();
        if (name !== '' && (kindsOf(name) & fieldKind.protected) === 0) headers.delete(name);
      }
    }
  }
  headers.deleteKind(fieldKind.hopByHop);
}
