import { isObject } from './is-object.js';
import type { Problem } from './load.js';

/*
 * What an identity that the mesh issues needs of the rest of a configuration. Takes any document, also a wrong one: what a schema sees is
 * left to the schema.
 */
export function checkIdentity(document: unknown): Problem[] {
  const { identity, controlPlane } = isObject(document) ? document : ({} as Record<string, unknown>);
  if (!isObject(identity) || typeof identity['directory'] !== 'string') return [];
  if (!isObject(controlPlane)) return [{ path: 'controlPlane', message: 'is missing: identity.directory is for a certificate that the control plane issues' }];
  const { url, allowPlaintext } = controlPlane;
  if (allowPlaintext === true) return [];
  return [url].flat().flatMap((text: unknown, index) =>
    typeof text === 'string' && isPlaintextElsewhere(text)
      ? [{ path: Array.isArray(url) ? `controlPlane.url[${index}]` : 'controlPlane.url', message: 'certificates are asked for over https, or on loopback: whoever sits in between could become any service. (controlPlane.allowPlaintext allows it all the same)' }]
      : [],
  );
}

function isPlaintextElsewhere(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === 'http:' && hostname !== 'localhost' && hostname !== '[::1]' && !/^127\.\d+\.\d+\.\d+$/.test(hostname);
}
