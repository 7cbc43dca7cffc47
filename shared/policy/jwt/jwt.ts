import type { JWTPayload } from 'jose';
import type { Clock } from '../../clock/clock.js';
import type { LastKnown } from '../../config/last-known.js';
import type { JwtConfig } from '../../config/policies.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Caller } from '../../http/exchange.js';
import { fieldKind } from '../../http/field-names.js';
import type { Headers } from '../../http/headers.js';
import type { Layer } from '../../http/service.js';
import type { PemStore } from '../../tls/pem-store.js';
import { FileKeySet } from './file-key-set.js';
import { fetchJson, KeysUnavailable, localKeySet, RemoteKeySet, verifyToken, type KeySet, type KeySetEvent } from './jwks.js';
import { TokenCache } from './token-cache.js';

interface JwtDependencies {
  readonly clock: Clock;
  /** Keeps key sets in files up to date. */
  readonly files: PemStore;
  readonly fetchJson?: (url: string, timeoutMs: number) => Promise<unknown>;
  readonly onEvent?: (event: KeySetEvent) => void;
  readonly lastKnown?: LastKnown | undefined;
}

const maxTokenLength = 8_192;
/** The least recently used is forgotten first. */
export const maxCachedTokens = 10_000;

/**
 * Lets only requests with a valid bearer token pass (RFC 6750, RFC 7519; checks as RFC 8725 advises).
 *
 * Signature by an allowed algorithm and a key of the issuer, `iss`, `aud`, `exp`, `nbf`, and all `requiredScopes`. A verified
 * token is remembered until it expires or the issuer's keys change. The caller is noted on the exchange, and told
 * to the upstream in `X-Auth-Subject` and `X-Auth-Scope`. Rejects if a key file cannot be read.
 */
export async function jwt(config: JwtConfig, dependencies: JwtDependencies): Promise<{ layer: Layer; close: () => void }> {
  const { clock, files, onEvent } = dependencies;
  const keys: KeySet =
    config.jwksUri === undefined
      ? typeof config.jwks === 'string'
        ? new FileKeySet(config.jwks, files, onEvent)
        : await localKeySet(config.jwks!)
      : new RemoteKeySet({ ...config, jwksUri: config.jwksUri }, { clock, fetchJson: dependencies.fetchJson ?? fetchJson, onEvent, lastKnown: dependencies.lastKnown });
  // What was found under one version of the keys. When they change, so does this: a verification that ends later adds to what is gone.
  const found = () => ({ version: keys.version, verified: new TokenCache<Verified>(maxCachedTokens), verifying: new Map<string, Promise<Verified>>() });
  let known = found();

  async function verify(token: string, digest: string, verified: TokenCache<Verified>): Promise<Verified> {
    try {
      const { payload } = await verifyToken(token, keys, {
        issuer: config.issuer,
        audience: config.audience,
        algorithms: config.algorithms,
        clockTolerance: config.clockTolerance / 1_000,
        currentDate: new Date(clock.wallNow()),
        requiredClaims: ['exp', 'sub'],
      });
      // RFC 7519 section 4.1.2. Anything else would be told upstream, and counted, as the subject that it looks like in a field.
      if (typeof payload.sub !== 'string' || payload.sub === '') throw new Error('a subject that is no text');
      const caller = callerOf(payload);
      const said = { caller, fields: fieldsFor(caller) };
      verified.set(digest, said, payload.exp! * 1_000 + config.clockTolerance);
      return said;
    } catch (cause) {
      throw toTokenError(cause);
    }
  }

  function callerFor(token: string): Verified | Promise<Verified> {
    if (keys.version !== known.version) known = found();
    const { verified, verifying } = known;
    const digest = TokenCache.digest(token);
    const said = verified.get(digest, clock.wallNow());
    if (said !== undefined) return said;
    // Only now: what was verified was well-formed.
    if (!tokenForm.test(token)) throw refusal('token_invalid', 'error="invalid_token"');
    let pending = verifying.get(digest);
    if (pending === undefined) {
      pending = verify(token, digest, verified).finally(() => verifying.delete(digest));
      verifying.set(digest, pending);
    }
    return pending;
  }

  const layer: Layer = (next) =>
    async function jwt(request, exchange) {
      const found = callerFor(bearerToken(request.headers));
      const { caller, fields } = found instanceof Promise ? await found : found;
      // Keys may have been fetched for it meanwhile.
      request.cancellation.throwIfCancelled();
      for (const scope of config.requiredScopes) {
        if (!caller.scopes.has(scope)) throw refusal('scope_missing', `error="insufficient_scope", scope="${config.requiredScopes.join(' ')}"`);
      }
      exchange.caller = caller;
      tellUpstream(request.headers, fields);
      return next(request, exchange);
    };
  return {
    layer,
    close() {
      keys.close();
      known.verified.clear();
    },
  };
}

/** A token that was verified, and what it means. */
interface Verified {
  readonly caller: Caller;
  /** Fields for the upstream; without a value the field is only removed. */
  readonly fields: readonly (readonly [name: string, lower: string, value: string | undefined])[];
}

const bearer = /^bearer /i;
const tokenForm = /^[\w~+/.=-]+$/;

function bearerToken(headers: Headers): string {
  const count = headers.count('authorization');
  if (count === 0) throw new ProxyError('token_missing', { fields: { 'WWW-Authenticate': 'Bearer' } });
  const credentials = headers.get('authorization')!;
  if (count > 1 || credentials.length > maxTokenLength || !bearer.test(credentials)) throw refusal('token_invalid', 'error="invalid_token"');
  return credentials.slice(7).trimStart();
}

function toTokenError(cause: unknown): ProxyError {
  if (cause instanceof KeysUnavailable) return new ProxyError('keys_unavailable', { cause, fields: { 'Retry-After': '1' } });
  const expired = (cause as { code?: unknown }).code === 'ERR_JWT_EXPIRED';
  return refusal(expired ? 'token_expired' : 'token_invalid', 'error="invalid_token"', cause);
}

function refusal(code: ErrorCode, parameters: string, cause?: unknown): ProxyError {
  return new ProxyError(code, { cause, fields: { 'WWW-Authenticate': `Bearer ${parameters}` } });
}

/** Issuers write scopes as words (`scope`, RFC 8693 section 4.2) or as a list (`scp`), each also the other way, and some write both. All count: a rule that denies one must not miss it. */
function callerOf(payload: JWTPayload): Caller {
  const words = [payload['scope'], payload['scp']].flat().flatMap((text) => (typeof text === 'string' ? text.split(' ') : []));
  return { subject: payload.sub!, scopes: new Set(words.filter((word) => word !== '')), claims: payload };
}

/** What the upstream is told. A value that is not plain text could break out of its field, so it is left out. */
function fieldsFor({ subject, scopes }: Caller): Verified['fields'] {
  const plain = (value: string): string | undefined => (/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(value) && value.length <= 1_024 ? value : undefined);
  return [['X-Auth-Subject', 'x-auth-subject', plain(subject)], ['X-Auth-Scope', 'x-auth-scope', plain([...scopes].join(' '))]];
}

function tellUpstream(headers: Headers, fields: Verified['fields']): void {
  headers.deleteUnderscored(fieldKind.identity);
  for (const [name, lower, value] of fields) {
    if (headers.has(lower)) headers.delete(lower);
    if (value !== undefined) headers.append(name, value);
  }
}
