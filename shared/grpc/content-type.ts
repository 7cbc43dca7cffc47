import type { Headers } from '../http/headers.js';

const prefix = 'application/grpc';

/** Whether a message is one of gRPC: `application/grpc`, also with a format (`+proto`); not gRPC-Web, which is another protocol. */
export function isGrpc(headers: Headers): boolean {
  const type = headers.get('content-type');
  if (type === undefined || !type.startsWith(prefix)) return false;
  const next = type[prefix.length];
  return next === undefined || next === '+' || next === ';';
}
