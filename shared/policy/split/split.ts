import type { SplitConfig, StickyConfig } from '../../config/shaping.js';
import { cookieOf } from '../../http/cookies.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import { byHash, byWeight, hashOf } from './choose.js';

interface SplitDependencies {
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/**
 * Sends each request to one of several sides, by weight: a canary, or two variants beside each other.
 *
 * The choice is made once a request; retries below stay on its side. With `sticky`, requests with the same key go to the same
 * side, in every proxy that has the same configuration and with no state in any. What has no key is sent by chance.
 */
export function split(sides: SplitConfig, sticky: StickyConfig | undefined, services: ReadonlyMap<string, Service>, { random }: SplitDependencies): Service {
  const inOrder = sides.map(({ upstream }) => services.get(upstream)!);
  const chance = byWeight(sides.map(({ weight }) => weight));
  if (sticky === undefined) return (request, exchange) => inOrder[chance(random())]!(request, exchange);

  const keyOf = keySelector(sticky);
  const hashed = byHash(sides.map(({ upstream, weight }) => ({ name: upstream, weight })));
  const issue = sticky.ttl === undefined ? undefined : cookieIssuer(sticky.cookie!, sticky.ttl, random);
  return function split(request, exchange) {
    const key = keyOf(request, exchange);
    if (key !== undefined) return inOrder[hashed(hashOf(key))]!(request, exchange);
    if (issue === undefined) return inOrder[chance(random())]!(request, exchange);
    const { value, field } = issue();
    return inOrder[hashed(hashOf(value))]!(request, exchange).then((response) => withCookie(response, request.scheme === 'https' ? `${field}; Secure` : field));
  };
}

function keySelector({ header, cookie }: StickyConfig): (request: HttpRequest, exchange: Exchange) => string | undefined {
  if (cookie !== undefined) return ({ headers }) => cookieOf(headers, cookie) || undefined;
  if (header === undefined) return (_request, exchange) => exchange.clientAddress;
  const lower = header.toLowerCase();
  return ({ headers }) => headers.get(lower) || undefined;
}

/** Makes keys for clients that have none: a random number, which says nothing about anyone. */
function cookieIssuer(name: string, ttlMs: number, random: () => number): () => { readonly value: string; readonly field: string } {
  const half = (): string => Math.floor(random() * 2 ** 32).toString(16).padStart(8, '0');
  const attributes = `; Path=/${ttlMs === 0 ? '' : `; Max-Age=${Math.ceil(ttlMs / 1_000)}`}; HttpOnly; SameSite=Lax`;
  return () => {
    const value = half() + half();
    return { value, field: `${name}=${value}${attributes}` };
  };
}

function withCookie(response: HttpResponse, field: string): HttpResponse {
  response.headers.append('Set-Cookie', field);
  return response;
}
