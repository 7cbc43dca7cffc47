import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchange, request, response } from '../../tests/support/policy.js';
import type { ProxyError } from '../errors/proxy-error.js';
import { viaOnce } from './via-once.js';

/** What becomes of a request that came through these proxies. */
async function run(via: readonly string[], maxEarlier = 0): Promise<readonly string[] | string> {
  const over = exchange();
  const sent = request(over);
  for (const entry of via) sent.headers.append('Via', entry);
  try {
    await viaOnce('sidecar', { instance: 'abc', maxEarlier })(() => Promise.resolve(response(200)))(sent, over);
    return sent.headers.getAll('via');
  } catch (error) {
    return (error as ProxyError).code;
  }
}

test('a request that was never here goes on, and says from now on that it was', async () => {
  assert.deepEqual(await run([]), ['1.1 sidecar (abc)']);
  assert.deepEqual(await run(['1.1 sidecar (xyz)', '1.0 edge']), ['1.1 sidecar (xyz)', '1.0 edge', '1.1 sidecar (abc)']);
});

test('one that comes back is refused, whoever joined the entries on its way', async () => {
  assert.equal(await run(['1.1 sidecar (abc)']), 'loop_detected');
  assert.equal(await run(['1.1 edge, 1.1 sidecar (abc), 1.1 sidecar (xyz)']), 'loop_detected');
});

test('it may come back as often as it is said to', async () => {
  assert.deepEqual(await run(['1.1 sidecar (abc)', '1.1 sidecar (abc)'], 2), ['1.1 sidecar (abc)', '1.1 sidecar (abc)', '1.1 sidecar (abc)']);
  assert.equal(await run(['1.1 sidecar (abc), 1.1 sidecar (abc)', '1.1 sidecar (abc)'], 2), 'loop_detected');
});
