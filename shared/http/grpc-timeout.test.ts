import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatGrpcTimeout, parseGrpcTimeout } from './grpc-timeout.js';

for (const [field, expected] of [
  ['1H', 3_600_000],
  ['2M', 120_000],
  ['10S', 10_000],
  ['250m', 250],
  ['1500u', 1.5],
  ['0n', 0],
  ['99999999S', 99_999_999_000],
  ['123456789m', undefined],
  ['5s', undefined],
  ['m', undefined],
  ['-1m', undefined],
  ['1 m', undefined],
  [undefined, undefined],
] as const) {
  test(`grpc-timeout ${field ?? '(none)'} is ${expected ?? 'nothing'}`, () => assert.equal(parseGrpcTimeout(field), expected));
}

test('what is written is valid, never less, and at most a thousandth more', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 1e9, noNaN: true }), (ms) => {
      const field = formatGrpcTimeout(ms);
      assert.match(field, /^\d{1,8}[HMSmun]$/);
      const read = parseGrpcTimeout(field)!;
      assert.ok(read >= ms * (1 - 1e-12) && read <= ms * 1.001 + 0.001, `${ms} became ${field}`);
    }),
    { seed: 5, numRuns: 500 },
  );
  assert.equal(formatGrpcTimeout(-1), '0u');
});
