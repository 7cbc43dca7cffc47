import { posix } from 'node:path';
import { canonicalAddress } from '../listener/network-list.js';
import { isObject } from './is-object.js';
import { asksForCertificates, checkAuthorization } from './check-authorization.js';
import { checkServerTls } from '../tls/check.js';
import { reservedListenerNames } from './tcp.js';
import type { Problem } from './load.js';
import { address, formatAddress, type Address } from './units.js';

/*
 * What no schema of single values can see about listeners: two that take the same port, upstreams that are not there, and
 * endpoints that are the proxy itself. Takes any document, also a wrong one: what is no listener is the schema's to refuse.
 */

interface Listening {
  readonly path: string;
  readonly at: Address;
}

type Section = Readonly<Record<string, unknown>>;

export function checkListeners(document: unknown): Problem[] {
  const { listen, inbound, outbound, admin, tcp, upstreams, controlPlane, identity } = isObject(document) ? document : ({} as Section);
  const entries = (Array.isArray(tcp) ? (tcp as unknown[]) : []).map((entry) => (isObject(entry) ? entry : {}));
  const streams = entries.flatMap((entry, index) => listening(entry['listen'], `tcp[${index}].listen`));
  const outside = [...listening(listen, 'listen'), ...listening(isObject(outbound) ? outbound['listen'] : undefined, 'outbound.listen'), ...streams];
  const app = listening(isObject(inbound) ? inbound['listen'] : undefined, 'inbound.listen');
  return [
    ...entries.flatMap((entry, index) => checkStream(entry, `tcp[${index}]`, upstreams, controlPlane !== undefined)),
    ...entries.flatMap((entry, index) => checkAuthorization({ path: `tcp[${index}]`, own: entry, hasTokens: false, hasIdentities: identity !== undefined || asksForCertificates(entry['listen']) })),
    ...checkNames(entries),
    ...checkTwice([...listening(admin, 'admin'), ...app, ...outside]),
    ...checkSelf(upstreams, outside),
    ...checkApp(inbound, [...app, ...outside]),
  ];
}

function checkStream({ listen, upstream }: Section, path: string, upstreams: unknown, isControlled: boolean): Problem[] {
  const problems = isObject(listen) ? checkServerTls(listen['tls'], `${path}.listen.tls`) : [];
  const known = isObject(upstreams) ? Object.keys(upstreams) : [];
  // A control plane may yet bring it.
  if (typeof upstream === 'string' && !known.includes(upstream) && !isControlled) {
    problems.push({ path: `${path}.upstream`, message: `there is no upstream "${upstream}"; there ${known.length === 0 ? 'are none' : `is ${known.join(', ')}`}` });
  }
  return problems;
}

function checkNames(entries: readonly Section[]): Problem[] {
  const seen = new Set(reservedListenerNames);
  return entries.flatMap(({ name, upstream }, index) => {
    const effective = typeof name === 'string' ? name : typeof upstream === 'string' ? `tcp-${upstream}` : undefined;
    if (effective === undefined) return [];
    const isTaken = seen.has(effective);
    seen.add(effective);
    return isTaken ? [{ path: `tcp[${index}].name`, message: `another listener goes by the name "${effective}"` }] : [];
  });
}

function checkTwice(all: readonly Listening[]): Problem[] {
  return all.flatMap(({ path, at }, index) => {
    const other = all.slice(0, index).find((before) => collide(before.at, at));
    return other === undefined ? [] : [{ path, message: `${formatAddress(at)} is taken by ${other.path}` }];
  });
}

/** Endpoints that are listeners of this proxy: what is sent there comes back for ever. */
function checkSelf(upstreams: unknown, own: readonly Listening[]): Problem[] {
  return Object.entries(isObject(upstreams) ? upstreams : {}).flatMap(([name, upstream]) => {
    const endpoints = isObject(upstream) && Array.isArray(upstream['endpoints']) ? (upstream['endpoints'] as unknown[]) : [];
    return endpoints.flatMap((endpoint, index) => selfAt(isObject(endpoint) ? endpoint['address'] : endpoint, `upstreams.${name}.endpoints[${index}]`, own));
  });
}

function checkApp(inbound: unknown, own: readonly Listening[]): Problem[] {
  return isObject(inbound) ? selfAt(inbound['app'], 'inbound.app', own) : [];
}

function selfAt(endpoint: unknown, path: string, own: readonly Listening[]): Problem[] {
  const parsed = address.safeParse(endpoint);
  const self = parsed.success ? own.find(({ at }) => reaches(parsed.data, at)) : undefined;
  return self === undefined ? [] : [{ path, message: `is this proxy's own ${self.path}: what is sent there would come back` }];
}

function listening(section: unknown, path: string): Listening[] {
  if (!isObject(section)) return [];
  const { host = '127.0.0.1', port, path: file } = section;
  if (typeof file === 'string') return [{ path, at: { path: file } }];
  return typeof host === 'string' && typeof port === 'number' && port > 0 ? [{ path, at: { host, port } }] : [];
}

/** Whether not both can listen. */
function collide(one: Address, other: Address): boolean {
  if (one.path !== undefined || other.path !== undefined) return samePath(one.path, other.path);
  return one.port === other.port && (isAny(one.host) || isAny(other.host) || addressesOf(one.host).some((address) => addressesOf(other.host).includes(address)));
}

/** Whether what is sent to an address arrives at a listener. Another machine's address may be anything. */
function reaches(endpoint: Address, own: Address): boolean {
  if (endpoint.path !== undefined || own.path !== undefined) return samePath(endpoint.path, own.path);
  return endpoint.port === own.port && addressesOf(endpoint.host).some((address) => addressesOf(own.host).includes(address) || takesLoopback(own.host, address));
}

function samePath(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && posix.normalize(one) === posix.normalize(other);
}

/** The addresses that a host may stand for, in one spelling; a name that is not looked up stands for itself. */
function addressesOf(host: string): readonly string[] {
  if (host === 'localhost') return ['127.0.0.1', '::1'];
  return [canonicalAddress(host) ?? host];
}

/** Whether a listener takes what is sent to a loopback address, or to none in particular, which leads there. */
function takesLoopback(own: string, address: string): boolean {
  const isV4 = address === '0.0.0.0' || /^127\./.test(address);
  return own === '::' ? isV4 || address === '::' || address === '::1' : own === '0.0.0.0' && isV4;
}

const isAny = (host: string): boolean => host === '0.0.0.0' || host === '::';
