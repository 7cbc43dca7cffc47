import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { Generation } from '../../config/generation.js';
import { jwtSchema } from '../../config/policies.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { silentLogger, type Logger } from '../../telemetry/logger.js';
import { ProxyMetrics } from '../../telemetry/proxy-metrics.js';
import { PemStore } from '../../tls/pem-store.js';
import { Policies } from '../policies.js';

const clock = new FakeClock();
let directory: string;
let file: string;
let one: Issued;
let two: Issued;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'jwks-'));
  file = join(directory, 'jwks.json');
  [one, two] = await Promise.all([issue('one'), issue('two')]);
});
after(() => rmSync(directory, { recursive: true }));
beforeEach(() => writeKeys(one.jwk));

interface Issued {
  readonly jwk: JWK;
  readonly token: string;
}

async function issue(kid: string): Promise<Issued> {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const token = await new SignJWT({ iss: 'i', aud: 'shop', sub: kid, exp: Math.floor(clock.wallNow() / 1_000) + 3_600 }).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey);
  return { jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' }, token };
}

function writeKeys(...keys: readonly JWK[]): void {
  writeFileSync(file, JSON.stringify({ keys }));
}

/** A policy whose keys are in the file, and whom it lets in: of the two tokens, those that pass. */
async function start() {
  const lines: string[] = [];
  const write = (_about: object, text: string): void => void lines.push(text);
  const files = new PemStore(clock);
  const metrics = new ProxyMetrics();
  const generation = new Generation();
  const policies = new Policies({ clock, random: () => 0, logger: Object.assign(Object.create(silentLogger) as Logger, { info: write, warn: write }), metrics, pems: files });
  const layer = await policies.jwt(generation, jwtSchema.parse({ issuer: 'i', audience: 'shop', jwks: file, algorithms: ['ES256'] }));
  const service = layer(async () => response(200));
  const passes = async ({ token }: Issued): Promise<boolean> => {
    const over = exchange();
    return service(request(over, { fields: { authorization: `Bearer ${token}` } }), over).then(() => true, (error: unknown) => {
      assert.equal((error as ProxyError).code, 'token_invalid');
      return false;
    });
  };
  const counted = async (): Promise<string[]> => (await metrics.registry.metrics()).match(/(?<=^proxy_key_set_fetches_total)\{.*$/gm) ?? [];
  return { files, generation, lines, counted, let: async () => [await passes(one), await passes(two)] };
}

describe('keys of tokens in a file', () => {
  test('one that is taken out is believed no longer, also of a token that was verified before, and one that is added is', async () => {
    const policy = await start();
    assert.deepEqual(await policy.let(), [true, false]);
    writeKeys(two.jwk);
    await policy.files.refresh();
    assert.deepEqual(await policy.let(), [false, true]);
    assert.deepEqual([policy.lines, await policy.counted()], [['keys were read again'], ['{result="fetched"} 1']]);
    policy.generation.retire();
    assert.equal(clock.pending, 0, 'nobody looks at the file any more');
  });

  for (const [name, contents] of [['no JSON', 'half'], ['no key set', '{"keys":[1]}']] as const) {
    test(`a file that comes to hold ${name} leaves the keys before in use, which is told and counted`, async () => {
      const policy = await start();
      writeFileSync(file, contents);
      await policy.files.refresh();
      assert.deepEqual(await policy.let(), [true, false]);
      assert.deepEqual([policy.lines, await policy.counted()], [['keys could not be refreshed; the last ones go on serving'], ['{result="stale"} 1']]);
      writeKeys(two.jwk);
      await policy.files.refresh();
      assert.deepEqual(await policy.let(), [false, true]);
      policy.generation.retire();
    });
  }

  test('a file that is gone leaves the keys before in use, which is told and counted, and so is that it is back', async () => {
    const policy = await start();
    rmSync(file);
    await policy.files.refresh();
    await policy.files.refresh();
    assert.deepEqual(await policy.let(), [true, false]);
    assert.deepEqual([policy.lines, await policy.counted()], [['keys could not be refreshed; the last ones go on serving'], ['{result="stale"} 1']]);
    writeKeys(two.jwk);
    await policy.files.refresh();
    assert.deepEqual(await policy.let(), [false, true]);
    assert.deepEqual(policy.lines.slice(1), ['keys were read again']);
    policy.generation.retire();
  });

  test('a policy is not made of a file without keys, and leaves nothing behind', async () => {
    writeFileSync(file, '{}');
    await assert.rejects(start(), /jwks\.json holds no key set: expected \{ "keys": \[ … \] \}/);
    assert.equal(clock.pending, 0);
  });
});
