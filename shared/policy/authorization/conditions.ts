import type { AuthorizationRule } from '../../config/authorization.js';
import type { Exchange } from '../../http/exchange.js';
import type { Headers } from '../../http/headers.js';
import type { HttpRequest } from '../../http/message.js';
import { networkList } from '../../listener/network-list.js';
import { valueMatcher } from '../../routing/value-match.js';
import { claimMatcher } from './claim-matcher.js';
import { hostMatcher, hostRead } from './host-matcher.js';
import { pathMatcher } from './path-matcher.js';

/** `path` is the request's, decoded. */
export type Condition = (request: HttpRequest, exchange: Exchange, path: string) => boolean;

/** Reads what a condition is about; undefined where it is not known. */
type Read<T> = (request: HttpRequest, exchange: Exchange, path: string) => T | undefined;
type Matches<T> = (value: T) => boolean;

/**
 * The conditions of a rule, the cheapest first; all of them must hold.
 *
 * What is not known works against the caller. A condition that asks for something does not hold for it; one that excludes
 * something holds in a deny rule (`notIdentities` refuses who has proven no identity) and not in an allow rule.
 */
export function conditionsOf(rule: AuthorizationRule): readonly Condition[] {
  const isDeny = rule.action === 'deny';
  const { from = {}, methods, notMethods, hosts, notHosts, paths, notPaths, headers = {}, claims = {}, notClaims = {} } = rule;
  const both = <T, C>(read: Read<T>, matcher: (wanted: C) => Matches<T>, wanted: C | undefined, unwanted: C | undefined): (Condition | undefined)[] => [
    wanted === undefined ? undefined : holds(read, matcher(wanted)),
    unwanted === undefined ? undefined : holdsNot(read, matcher(unwanted), isDeny),
  ];
  return [
    ...both((request) => request.method, setMatcher, methods, notMethods),
    ...both((_request, exchange) => exchange.peer?.id, identityMatcher, from.identities, from.notIdentities),
    ...both((_request, exchange) => exchange.peer?.namespace, setMatcher, from.namespaces, from.notNamespaces),
    ...both((_request, exchange) => exchange.peer?.service, setMatcher, from.services, from.notServices),
    ...both((_request, _exchange, path) => path, pathMatcher, paths, notPaths),
    ...both(hostRead, hostMatcher, hosts, notHosts),
    ...Object.entries(claims).map(([name, values]) => holds(claimsRead, claimMatcher(name, [values].flat()))),
    ...Object.entries(notClaims).map(([name, values]) => holdsNot(claimsRead, claimMatcher(name, [values].flat()), isDeny)),
    ...Object.entries(headers).map(([name, match]) => holds((request) => request.headers, fieldMatcher(name.toLowerCase(), valueMatcher(match), isDeny))),
    ...both((_request, exchange) => (exchange.clientAddress === '' ? undefined : exchange.clientAddress), networkList, from.addresses, from.notAddresses),
  ].filter((condition) => condition !== undefined);
}

function holds<T>(read: Read<T>, matches: Matches<T>): Condition {
  return (request, exchange, path) => {
    const value = read(request, exchange, path);
    return value !== undefined && matches(value);
  };
}

function holdsNot<T>(read: Read<T>, matches: Matches<T>, ifUnknown: boolean): Condition {
  return (request, exchange, path) => {
    const value = read(request, exchange, path);
    return value === undefined ? ifUnknown : !matches(value);
  };
}

const claimsRead: Read<NonNullable<Exchange['caller']>> = (_request, exchange) => exchange.caller;

function setMatcher(values: readonly string[]): Matches<string> {
  const set = new Set(values);
  return (value) => set.has(value);
}

function identityMatcher(identities: readonly string[]): Matches<string> {
  const exact = new Set(identities);
  const beginnings = identities.filter((name) => name.endsWith('/*')).map((name) => name.slice(0, -1));
  return (id) => {
    if (exact.has(id)) return true;
    for (const beginning of beginnings) if (id.startsWith(beginning)) return true;
    return false;
  };
}

/** Of a field that comes twice an allow rule must like both, and a deny rule need find only one. */
function fieldMatcher(name: string, matches: Matches<string | undefined>, any: boolean): Matches<Headers> {
  return (headers) => {
    if (headers.count(name) < 2) return matches(headers.get(name));
    const values = headers.getAll(name);
    return any ? values.some(matches) : values.every(matches);
  };
}
