import type { X509Certificate } from 'node:crypto';

interface Named {
  readonly subjectAltName: string | undefined;
}

/** `Kind:value`, where Node quotes a value that could be taken for more than one (as JSON does). */
const entry = /([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;

/**
 * The one URI among the alternative names of a certificate, which is what names a workload: an X.509-SVID has exactly one (section 2
 * of its specification). Undefined when there is none, more than one, or anything that cannot be read for certain.
 */
export function uriName(certificate: Named): string | undefined {
  const subjectAltName = alternativeNames(certificate);
  if (subjectAltName === undefined) return undefined;
  const uris: string[] = [];
  for (let offset = 0; offset < subjectAltName.length; ) {
    entry.lastIndex = offset;
    const match = entry.exec(subjectAltName);
    if (match === null) return undefined;
    if (match[1] === 'URI') uris.push(match[2]!);
    offset += match[0].length;
  }
  return uris.length === 1 ? uris[0] : undefined;
}

/** What a certificate calls itself, for a log: it may be anybody's, so it is cut short. */
export function shownName(certificate: X509Certificate): string {
  return (alternativeNames(certificate) ?? certificate.subject).slice(0, maxShown);
}

/** Node 26 throws where the extension is there and holds no name. */
function alternativeNames(certificate: Named): string | undefined {
  try {
    return certificate.subjectAltName;
  } catch {
    return undefined;
  }
}

/** What of a stranger's name goes into the log. */
export const maxShown = 200;

/** Whether a certificate is valid at a time (ms since the epoch). */
export function isValidAt({ validFrom, validTo }: Pick<X509Certificate, 'validFrom' | 'validTo'>, time: number): boolean {
  return Date.parse(validFrom) <= time && time <= Date.parse(validTo);
}
