import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { FastifyRateLimitStoreCtor } from '@fastify/rate-limit';
import type { Clock } from '../../clock/clock.js';
import type { RateLimitConfig } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import { aliasRemoval } from '../../http/field-aliases.js';
import type { Headers } from '../../http/headers.js';
import type { HttpRequest } from '../../http/message.js';
import type { Layer } from '../../http/service.js';
import { plainAddress } from '../../listener/network-list.js';
import { Limiter, type Keyed } from './limiter.js';
import { QuotaWindows, type Counted } from './quota-windows.js';

/** A counter outside this process, which a quota can be counted with. */
export interface QuotaCounter {
  /** Counts a request in the present window of a key, and tells how many there have been and when the window ends (ms). */
  count(scope: string, key: string, windowMs: number, maxKeys: number): Promise<Counted>;
}

interface RateLimitDependencies {
  readonly clock: Pick<Clock, 'now'>;
  /** Default: one of its own. */
  readonly limiter?: Limiter;
  /** Counts there instead of here; quotas of one scope are counted together. */
  readonly counter?: { readonly scope: string; readonly counter: QuotaCounter } | undefined;
  /** `store_failed`: the counter could not be asked; `failOpen` says what became of the request. */
  readonly onEvent?: (event: 'limited' | 'store_failed') => void;
}

/**
 * Admits `max` requests of one key in each window of `timeWindow`, on @fastify/rate-limit's limiter.
 *
 * Every answer carries what is left of the quota (draft-ietf-httpapi-ratelimit-headers-10), beside what the upstream says of quotas of its own;
 * the one beyond it is `rate_limited` with `Retry-After`. N proxies with counters of their own admit N times as much.
 *
 * Where a field is the key, what is counted is what the application reads: fields that it may read as it though they are written otherwise
 * (`X_Api_Key` for `X-Api-Key`) are removed, and a request that has it twice is refused with `bad_request`.
 */
export async function rateLimit(config: RateLimitConfig, { clock, limiter = new Limiter(), onEvent, counter }: RateLimitDependencies): Promise<{ readonly layer: Layer }> {
  const { max, timeWindow } = config;
  const check = await limiter.quota({ max, timeWindow, store: counter === undefined ? ownStore(config, clock) : storeOf(config, counter.counter, counter.scope) });
  const keyOf = keySelector(config.key);
  const removeAliases = aliasRemoval(fieldOf(config.key) ?? []);
  const writeFields = fieldWriter(config);

  const layer: Layer = (next) =>
    async function rateLimit(request, exchange) {
      removeAliases?.(request.headers);
      const keyed: Keyed = { key: keyOf(request, exchange), routeOptions: {} };
      let outcome: Awaited<ReturnType<typeof check>>;
      try {
        outcome = await check(keyed);
      } catch (cause) {
        onEvent?.('store_failed');
        if (!config.failOpen) throw new ProxyError('rate_limit_unavailable', { cause });
        request.cancellation.throwIfCancelled();
        return next(request, exchange);
      }
      // Its client may have left while it was counted.
      request.cancellation.throwIfCancelled();
      if (outcome.isAllowed) return next(request, exchange);
      writeFields(exchange, outcome.remaining, outcome.ttlInSeconds);
      if (outcome.isExceeded) {
        onEvent?.('limited');
        throw new ProxyError('rate_limited', { fields: { 'Retry-After': String(Math.max(1, outcome.ttlInSeconds)) } });
      }
      return next(request, exchange);
    };
  return { layer };
}

/** Windows of this process in the form that the limiter makes its store of; its own look at the clock on the wall. */
function ownStore({ timeWindow, maxKeys }: RateLimitConfig, clock: Pick<Clock, 'now'>): FastifyRateLimitStoreCtor {
  const windows = new QuotaWindows(clock, maxKeys);
  return class {
    incr(key: string, done: FastifyRateLimitStoreCallback): void {
      done(null, windows.count(key, timeWindow));
    }
    child(): this {
      return this;
    }
  };
}

/** The same of a counter outside this process. */
function storeOf({ timeWindow, maxKeys }: RateLimitConfig, counter: QuotaCounter, scope: string): FastifyRateLimitStoreCtor {
  return class {
    incr(key: string, done: FastifyRateLimitStoreCallback): void {
      counter.count(scope, key, timeWindow, maxKeys).then((counted) => done(null, counted), (error: unknown) => done(error as Error));
    }
    child(): this {
      return this;
    }
  };
}

type FastifyRateLimitStoreCallback = (error: Error | null, result?: Counted) => void;

/** The kinds are prefixed, so that a subject that looks like an address does not share the address's quota. */
function keySelector(key: string): (request: HttpRequest, exchange: Exchange) => string {
  const byAddress = (exchange: Exchange): string => `ip:${addressKey(exchange.clientAddress)}`;
  if (key === 'ip') return (_request, exchange) => byAddress(exchange);
  if (key === 'sub') return (_request, exchange) => (exchange.caller === undefined ? byAddress(exchange) : `sub:${bounded(exchange.caller.subject)}`);
  const [field] = fieldOf(key)!;
  return (request, exchange) => {
    if (request.headers.count(field) > 1) throw new ProxyError('bad_request', { cause: new Error(`${field}, by which requests are counted, must not come more than once`) });
    const value = request.headers.get(field);
    return value === undefined ? byAddress(exchange) : `${field}:${bounded(value)}`;
  };
}

/** The field whose value is the key, in lower case. */
function fieldOf(key: string): [name: string] | undefined {
  return key.startsWith('header:') ? [key.slice('header:'.length).toLowerCase()] : undefined;
}

/** A client, or who signs its token, chooses the value, and ten thousand of them are remembered: long ones are kept as a digest. */
function bounded(value: string): string {
  return value.length <= 128 ? value : createHash('sha256').update(value).digest('base64url');
}

/** One client of IPv6 has a whole /64 to itself (RFC 6177), so that is what counts as one address. */
function addressKey(client: string): string {
  const address = plainAddress(client);
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::', 2);
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = tail === undefined ? left : [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right];
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(':');
}

function fieldWriter({ max, timeWindow, headers }: RateLimitConfig): (exchange: Exchange, remaining: number, resetSeconds: number) => void {
  const policy = `;q=${max};w=${Math.max(1, Math.ceil(timeWindow / 1_000))}`;
  const limit = String(max);
  const draft = headers === 'draft' || headers === 'both';
  const legacy = headers === 'legacy' || headers === 'both';
  return ({ responseFields, listener }, remaining, resetSeconds) => {
    if (draft) responseFields.push((answer) => addItem(answer, listener, policy, `;r=${remaining};t=${resetSeconds}`));
    if (legacy) {
      responseFields.push((answer) => {
        // These names hold one quota: that which the client gets to the end of first.
        const theirs = answer.get('ratelimit-remaining');
        if (theirs !== undefined && /^\d+$/.test(theirs) && Number(theirs) <= remaining) return;
        answer.set('RateLimit-Limit', limit);
        answer.set('RateLimit-Remaining', String(remaining));
        answer.set('RateLimit-Reset', String(resetSeconds));
      });
    }
  };
}

/** Both fields are lists: what comes from the upstream stays, and ours is one more item, named as the listener. One that is alone is `default`. */
function addItem(answer: Headers, listener: string, policy: string, state: string): void {
  const [policies, states] = [itemsOf(answer, 'ratelimit-policy'), itemsOf(answer, 'ratelimit')];
  let name = policies === '' && states === '' ? '"default"' : `"${listener}"`;
  for (let other = 2; policies.includes(name) || states.includes(name); other++) name = `"${listener}-${other}"`;
  answer.set('RateLimit-Policy', `${policies}${name}${policy}`);
  answer.set('RateLimit', `${states}${name}${state}`);
}

/** Items that another can stand behind. In earlier drafts they have no names: those give way, since nothing could read both together. */
function itemsOf(answer: Headers, field: string): string {
  const value = answer.getCombined(field);
  return value?.startsWith('"') === true ? `${value}, ` : '';
}
