import { isObject } from './is-object.js';
import type { Problem } from './load.js';

const zero = /^"?0[a-zA-Z]*"?$/;

/** Limits that have no effect behind Fastify, each with the values, as JSON, that ask for nothing. */
const unkept: readonly (readonly [path: string, none: RegExp, reason: string])[] = [
  ['upgrades', /^\[\]$/, 'no client can switch to another protocol'],
  ['tunnelIdleTimeout', /^$/, 'no client can switch to another protocol'],
  ['http2.streamIdleTimeout', zero, 'streams are held to bodyIdleTimeout, writeTimeout and the timeouts of their routes'],
];

/** A limit that a listener with `http2: fastify` does not keep must not look as if it did. `name`: the listener's, in `document`, which may be any, also a wrong one. */
export function checkFastifyLimits(document: unknown, name: 'listen' | 'inbound.listen' | 'outbound.listen'): Problem[] {
  const listen = at(document, name);
  if (!isObject(listen) || listen['http2'] !== 'fastify') return [];
  return unkept.flatMap(([path, none, reason]) => {
    const value = at(document, `limits.${path}`);
    return value === undefined || none.test(JSON.stringify(value)) ? [] : [{ path: `limits.${path}`, message: `has no effect with http2: fastify: ${reason}; leave it out, or set ${name}.http2 to engine` }];
  });
}

function at(document: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (isObject(inner) ? inner[key] : undefined), document);
}
