import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';

const prefix = 'application/grpc';

/** Whether a message is one of gRPC: `application/grpc`, also with a format (`+proto`); not gRPC-Web, which is another protocol. */
export function isGrpc(headers: Headers): boolean {
  if (!headers.hasKind(fieldKind.contentType)) return false;
  const type = headers.get('content-type')!;
  if (!type.startsWith(prefix)) return false;
  const next = type[prefix.length];
  return next === undefined || next === '+' || next === ';';
}
