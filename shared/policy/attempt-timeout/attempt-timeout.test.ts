import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { emptyBody, type Body } from '../../http/body.js';
import { exchange, openEnded, request, response, upload } from '../../../tests/support/policy.js';
import { attemptTimeout } from './attempt-timeout.js';

/** How long an attempt that begins at `startsAt` and is never answered is waited for (ms). */
async function waited(body: Body, startsAt = 0): Promise<number> {
  const clock = new FakeClock({ now: startsAt });
  const over = exchange();
  let gaveUpAfter = NaN;
  const service = attemptTimeout(300, { clock })(({ cancellation }) => new Promise((_resolve, reject) => cancellation.onCancel(reject)));
  const result = service(request(over, { body }), over).catch((error: unknown) => {
    gaveUpAfter = clock.now() - startsAt;
    assert.equal((error as ProxyError).code, 'upstream_timeout');
  });
  await clock.advance(20_000);
  await result;
  assert.equal(clock.pending, 0, 'no timer is left');
  return gaveUpAfter;
}

const cases: readonly (readonly [name: string, body: Body, startsAt: number, expected: number])[] = [
  ['a request without a body', emptyBody, 0, 300],
  ['from when the body was whole', upload(0, 1_000), 0, 1_300],
  ['but for the time in which the body was awaited', upload(200, 900), 0, 1_000],
  ['but for the time in which it was awaited since the attempt began', upload(0, 1_000), 800, 500],
  ['a body that was whole before the attempt', upload(0, 1_000), 5_000, 300],
];

describe('attemptTimeout', () => {
  for (const [name, body, startsAt, expected] of cases) test(`counts ${name}`, async () => assert.equal(await waited(body, startsAt), expected));

  test('counts against the endpoint, but for a request that is still its client’s to send', async () => {
    const blamed: boolean[] = [];
    for (const body of [emptyBody, upload(0, 1_000), openEnded()]) {
      const clock = new FakeClock();
      const over = exchange();
      const service = attemptTimeout(300, { clock })(({ cancellation }) => new Promise((_resolve, reject) => cancellation.onCancel(reject)));
      const result = service(request(over, { body }), over).catch((error: unknown) => blamed.push((error as ProxyError).blamesUpstream));
      await clock.advance(2_000);
      await result;
    }
    assert.deepEqual(blamed, [true, true, false]);
  });

  test('leaves no timer behind an attempt that was answered after the limit had been put off', async () => {
    const clock = new FakeClock();
    const over = exchange();
    let answer = (): void => {};
    const service = attemptTimeout(300, { clock })(() => new Promise((resolve) => (answer = () => resolve(response(200)))));
    const result = service(request(over, { body: upload(0, 1_000) }), over);
    await clock.advance(400);
    answer();
    assert.equal((await result).status, 200);
    assert.equal(clock.pending, 0);
  });
});
