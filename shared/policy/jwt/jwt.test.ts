import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { FakeClock, settle } from '../../clock/fake-clock.js';
import { jwtSchema } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import { PemStore } from '../../tls/pem-store.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { jwt } from './jwt.js';

const issuer = 'https://issuer.example';

interface Key {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: JWK;
}

async function makeKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  return { kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } };
}

let current: Key;
let next: Key;
let foreign: Key;
before(async () => {
  [current, next, foreign] = await Promise.all([makeKey('one'), makeKey('two'), makeKey('one')]);
});

/** A policy on a fake clock, with an issuer whose answers the test chooses. */
async function start(config: object = {}) {
  const clock = new FakeClock();
  let keys: (() => Promise<unknown>) = async () => ({ keys: [current.jwk] });
  let fetches = 0;
  const events: string[] = [];
  const waiting: (() => void)[] = [];
  const { layer, close } = await jwt(jwtSchema.parse({ issuer, audience: 'shop', jwksUri: `${issuer}/jwks`, ...config }), {
    clock,
    files: new PemStore(clock),
    fetchJson: () => {
      fetches++;
      for (const tell of waiting) tell();
      return keys();
    },
    onEvent: ({ kind }) => events.push(kind),
  });
  let over: Exchange = exchange();
  let seen: Record<string, string> = {};
  let passed = 0;
  const service = layer(async ({ headers }) => {
    passed++;
    seen = headers.toObject();
    return response(200);
  });
  const call = async (authorization?: string, fields: Record<string, string> = {}): Promise<string> => {
    over = exchange();
    const headers = { ...fields, ...(authorization !== undefined && { authorization }) };
    return service(request(over, { fields: headers }), over).then(() => 'passed', (error: unknown) => (error as ProxyError).code);
  };
  const token = (claims: Record<string, unknown> = {}, key = current, header: object = {}): Promise<string> => {
    const now = Math.floor(clock.wallNow() / 1_000);
    const all: Record<string, unknown> = { iss: issuer, aud: 'shop', sub: 'alice', exp: now + 60, scope: 'orders:read orders:write', ...claims };
    return new SignJWT(Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)))
      .setProtectedHeader({ alg: 'RS256', kid: key.kid, ...header })
      .sign(key.privateKey);
  };
  return { clock, call, token, events, close, fetches: () => fetches, /** Resolves once the issuer has been asked that often. */ asked: (times: number) => new Promise<void>((resolve) => (fetches >= times ? resolve() : waiting.push(() => fetches >= times && resolve()))), setKeys: (answer: () => Promise<unknown>) => (keys = answer), over: () => over, passed: () => passed, caller: () => over.caller, seen: () => seen };
}

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

describe('jwt', () => {
  test('lets a valid token pass, and tells exchange and upstream who calls', async () => {
    const policy = await start();
    assert.equal(await policy.call(`Bearer ${await policy.token()}`, { 'x-auth-subject': 'root' }), 'passed');
    assert.equal(policy.caller()?.subject, 'alice');
    assert.equal(policy.seen()['x-auth-subject'], 'alice');
    assert.equal(policy.seen()['x-auth-scope'], 'orders:read orders:write');
  });

  const now = Math.floor(new FakeClock().wallNow() / 1_000);
  const refused: readonly (readonly [name: string, claims: Record<string, unknown>, code: string])[] = [
    ['an expired token', { exp: now - 10 }, 'token_expired'],
    ['a subject that is a list', { sub: ['alice', 'bob'] }, 'token_invalid'],
    ['a subject that is a number', { sub: 7 }, 'token_invalid'],
    ['an empty subject', { sub: '' }, 'token_invalid'],
    ['a token that is not valid yet', { nbf: now + 60 }, 'token_invalid'],
    ['a token for another audience', { aud: 'another' }, 'token_invalid'],
    ['a token without an audience', { aud: undefined }, 'token_invalid'],
    ['a token of another issuer', { iss: 'https://evil.example' }, 'token_invalid'],
    ['a token that never expires', { exp: undefined }, 'token_invalid'],
    ['a token without a subject', { sub: undefined }, 'token_invalid'],
    ['a token without the scope', { scope: 'newsletter' }, 'scope_missing'],
    ['a token whose scope merely contains the name', { scope: 'orders:reader' }, 'scope_missing'],
  ];
  for (const [name, claims, code] of refused) {
    test(`refuses ${name}`, async () => {
      const policy = await start({ requiredScopes: ['orders:read'] });
      assert.equal(await policy.call(`Bearer ${await policy.token(claims)}`), code);
    });
  }

  const scopes: readonly (readonly [name: string, claims: Record<string, unknown>])[] = [
    ['words', { scope: 'read guest' }],
    ['a list', { scope: undefined, scp: ['read', 'guest'] }],
    ['a list under the name of words', { scope: ['read', 'guest'] }],
    ['words under the name of a list', { scope: undefined, scp: ' read  guest ' }],
    ['words beside an empty list', { scope: 'read guest', scp: [] }],
    ['some in either claim', { scope: 'read read', scp: ['guest'] }],
    ['some in either claim, as words', { scope: 'guest', scp: 'read' }],
    ['a list with more than texts', { scope: ['guest', 7, null, ['x'], { y: 1 }], scp: ['read'] }],
    ['a list of several words each', { scope: ['read guest'] }],
  ];
  for (const [name, claims] of scopes) {
    test(`finds every scope of a token that has ${name}`, async () => {
      const policy = await start({ requiredScopes: ['read', 'guest'] });
      assert.equal(await policy.call(`Bearer ${await policy.token(claims)}`), 'passed');
      assert.deepEqual([...policy.caller()!.scopes].sort(), ['guest', 'read']);
      assert.deepEqual(policy.seen()['x-auth-scope']!.split(' ').sort(), ['guest', 'read']);
    });
  }

  const malformed: readonly (readonly [name: string, make: (policy: Awaited<ReturnType<typeof start>>) => Promise<string | undefined>, code: string])[] = [
    ['no token', async () => undefined, 'token_missing'],
    ['another scheme', async () => 'Basic YWxpY2U6', 'token_invalid'],
    ['garbage', async () => 'Bearer not-a-token', 'token_invalid'],
    ['an over-long token', async () => `Bearer ${'a'.repeat(9_000)}`, 'token_invalid'],
    ['a token signed by another key of the same id', async ({ token }) => `Bearer ${await token({}, foreign)}`, 'token_invalid'],
    ['alg none', async () => `Bearer ${encode({ alg: 'none' })}.${encode({ iss: issuer, aud: 'shop', sub: 'alice', exp: now + 60 })}.`, 'token_invalid'],
    ['a tampered payload', async ({ token }) => {
      const [head, , signature] = (await token()).split('.');
      return `Bearer ${head}.${encode({ iss: issuer, aud: 'shop', sub: 'root', exp: now + 60 })}.${signature}`;
    }, 'token_invalid'],
    ['an HMAC with the public key as its secret', async () => {
      const secret = new TextEncoder().encode(await exportSPKI(current.publicKey));
      return `Bearer ${await new SignJWT({ iss: issuer, aud: 'shop', sub: 'alice', exp: now + 60 }).setProtectedHeader({ alg: 'HS256', kid: 'one' }).sign(secret)}`;
    }, 'token_invalid'],
  ];
  for (const [name, make, code] of malformed) {
    test(`refuses ${name}`, async () => {
      const policy = await start();
      assert.equal(await policy.call(await make(policy)), code);
    });
  }

  test('verifies a token once, however many requests carry it, and not beyond its end', async () => {
    const policy = await start({ clockTolerance: 0 });
    const authorization = `Bearer ${await policy.token({ exp: now + 60 })}`;
    assert.deepEqual(await Promise.all([policy.call(authorization), policy.call(authorization)]), ['passed', 'passed']);
    policy.setKeys(() => Promise.reject(new Error('away')));
    await policy.clock.advance(59_000);
    assert.equal(await policy.call(authorization), 'passed');
    await policy.clock.advance(2_000);
    assert.equal(await policy.call(authorization), 'token_expired');
    assert.equal(policy.fetches(), 1);
  });

  test('fetches the keys anew for a key it does not know, and no more often than the cooldown', async () => {
    const policy = await start({ cooldown: 30_000 });
    assert.equal(await policy.call(`Bearer ${await policy.token()}`), 'passed');
    policy.setKeys(async () => ({ keys: [next.jwk] }));
    await policy.clock.advance(30_000);
    assert.equal(await policy.call(`Bearer ${await policy.token({}, next)}`), 'passed');
    assert.equal(policy.fetches(), 2);
    for (let index = 0; index < 50; index++) assert.equal(await policy.call(`Bearer ${await policy.token({}, current, { kid: `made-up-${index}` })}`), 'token_invalid');
    assert.equal(policy.fetches(), 2);
  });

  test('a token that names no key is verified with whichever fits, while there are two', async () => {
    const policy = await start();
    policy.setKeys(async () => ({ keys: [current.jwk, next.jwk] }));
    for (const key of [current, next]) assert.equal(await policy.call(`Bearer ${await policy.token({}, key, { kid: undefined })}`), 'passed');
    assert.equal(await policy.call(`Bearer ${await policy.token({}, foreign, { kid: undefined })}`), 'token_invalid');
    assert.equal(await policy.call(`Bearer ${await policy.token({ aud: 'other' }, next, { kid: undefined })}`), 'token_invalid');
  });

  test('a token of a key that was withdrawn stops working once the new keys are here', async () => {
    const policy = await start({ cooldown: 0 });
    const old = `Bearer ${await policy.token()}`;
    assert.equal(await policy.call(old), 'passed');
    policy.setKeys(async () => ({ keys: [next.jwk] }));
    await policy.clock.advance(1);
    assert.equal(await policy.call(`Bearer ${await policy.token({}, next)}`), 'passed');
    assert.equal(await policy.call(old), 'token_invalid');
  });

  test('does not remember under new keys what was verified with old ones', async () => {
    const policy = await start({ cacheMaxAge: 60_000 });
    const [first, last] = [`Bearer ${await policy.token({ exp: undefined, nbf: undefined })}`, `Bearer ${await policy.token({ exp: Math.floor(policy.clock.wallNow() / 1_000) + 600 })}`];
    await policy.call(first);
    let publish!: (keys: unknown) => void;
    policy.setKeys(() => new Promise((resolve) => (publish = resolve)));
    await policy.clock.advance(60_000);
    const verifying = policy.call(last);
    publish({ keys: [next.jwk] });
    // The keys come while the token is being verified, and another caller is the first to notice. Verifying takes turns of the event loop.
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    assert.equal(policy.fetches(), 2);
    const noticed = policy.call('Bearer not.a.token');
    assert.equal(await verifying, 'passed');
    assert.equal(await noticed, 'token_invalid');
    assert.equal(await policy.call(last), 'token_invalid');
  });

  test('serves with the keys it has while the issuer is away, and says so', async () => {
    const policy = await start({ cacheMaxAge: 60_000 });
    assert.equal(await policy.call(`Bearer ${await policy.token()}`), 'passed');
    policy.setKeys(() => Promise.reject(new Error('away')));
    await policy.clock.advance(60_500);
    assert.equal(await policy.call(`Bearer ${await policy.token({ exp: now + 300, jti: 'another' })}`), 'passed');
    await settle();
    assert.deepEqual(policy.events, ['fetched', 'stale']);
  });

  test('while the issuer is away it is not known whether a key is one of its new ones: says so, asks no more often than the cooldown, and recovers', async () => {
    const policy = await start({ cooldown: 30_000, cacheMaxAge: 3_600_000 });
    const life = { exp: now + 86_400 };
    assert.equal(await policy.call(`Bearer ${await policy.token(life)}`), 'passed');
    await policy.clock.advance(30_000);
    let giveUp!: (reason: Error) => void;
    policy.setKeys(() => new Promise((_, reject) => (giveUp = reject)));
    const fresh = `Bearer ${await policy.token(life, next)}`;
    const [starts, joins] = [policy.call(fresh), policy.call(`Bearer ${await policy.token({ ...life, jti: 'joins' }, next)}`)];
    await policy.asked(2);
    giveUp(new Error('away'));
    assert.deepEqual([await starts, await joins], ['keys_unavailable', 'keys_unavailable']);
    assert.equal(await policy.call(fresh), 'keys_unavailable', 'within the cooldown');
    assert.equal(await policy.call(`Bearer ${await policy.token({ ...life, jti: 'known key' })}`), 'passed');
    assert.equal(policy.fetches(), 2);
    policy.setKeys(async () => ({ keys: [current.jwk, next.jwk] }));
    await policy.clock.advance(30_000);
    assert.equal(await policy.call(fresh), 'passed');
    assert.equal(await policy.call(`Bearer ${await policy.token(life, current, { kid: 'made-up' })}`), 'token_invalid');
    policy.close();
  });

  test('a key that is withdrawn is no use any more once keys are as old as they may be, though only tokens come that were seen before', async () => {
    const policy = await start({ cacheMaxAge: 60_000 });
    const seen = `Bearer ${await policy.token({ exp: now + 86_400 })}`;
    assert.equal(await policy.call(seen), 'passed');
    policy.setKeys(async () => ({ keys: [next.jwk] }));
    await policy.clock.advance(59_000);
    assert.equal(await policy.call(seen), 'passed');
    await policy.clock.advance(1_000);
    assert.equal(await policy.call(seen), 'token_invalid');
    // While the issuer is away it is asked more often, and not for ever once nobody wants to know.
    policy.setKeys(() => Promise.reject(new Error('away')));
    const before = policy.fetches();
    await policy.clock.advance(60_000 + 2 * 6_000);
    assert.equal(policy.fetches() - before, 3);
    policy.close();
    assert.equal(policy.clock.pending, 0);
  });

  test('a request goes no further when its client left while the keys were fetched', async () => {
    const policy = await start();
    let publish!: (keys: unknown) => void;
    policy.setKeys(() => new Promise((resolve) => (publish = resolve)));
    const authorization = `Bearer ${await policy.token()}`;
    const left = policy.call(authorization);
    policy.over().cancellation.cancel(new ProxyError('client_closed'));
    const stayed = policy.call(authorization);
    publish({ keys: [current.jwk] });
    assert.deepEqual([await left, await stayed, policy.passed()], ['client_closed', 'passed', 1]);
  });

  test('says that it cannot verify when it never had keys, and recovers', async () => {
    const policy = await start();
    policy.setKeys(() => Promise.reject(new Error('away')));
    const authorization = `Bearer ${await policy.token()}`;
    assert.equal(await policy.call(authorization), 'keys_unavailable');
    assert.equal(await policy.call(authorization), 'keys_unavailable');
    assert.equal(policy.fetches(), 1, 'the issuer is not hammered');
    policy.setKeys(async () => ({ keys: [current.jwk] }));
    await policy.clock.advance(1_000);
    assert.equal(await policy.call(authorization), 'passed');
  });
});
