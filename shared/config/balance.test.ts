import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError, parseConfig } from './load.js';
import { endpointSchema, writeEndpoint, type WrittenEndpoint } from './endpoints.js';
import { upstreamSchema } from './sections.js';

const cases: readonly (readonly [name: string, upstream: object, problem: RegExp])[] = [
  ['ring-hash without anything to hash', { balance: { algorithm: 'ring-hash' } }, /^balance\.hash: ring-hash needs to know what to hash/],
  ['a hash that another algorithm would ignore', { balance: { hash: 'ip' } }, /^balance\.hash: only ring-hash uses it/],
  ['a bound that another algorithm would ignore', { balance: { boundedLoad: 1.25 } }, /^balance\.boundedLoad: only ring-hash uses it/],
  ['slow start of a ring', { balance: { algorithm: 'ring-hash', hash: 'ip', slowStart: {} } }, /^balance\.slowStart: ring-hash has no slow start/],
  ['an unknown key', { balance: { algorithm: 'ring-hash', hash: { header: 'x', ttl: '1s' } } }, /^balance\.hash.*(unknown key|expected)/i],
  ['a cookie path that could end the attribute', { balance: { algorithm: 'ring-hash', hash: { cookie: 'a', ttl: 0, path: '/a; Domain=b' } } }, /^balance\.hash\.path: expected a path/],
  ['an empty subset', { balance: { subset: {} } }, /^balance\.subset: expected at least one label/],
  ['a weight of nothing', { endpoints: [{ address: '127.0.0.1:1', weight: 0 }] }, /^endpoints\[0\]\.weight/],
];

describe('the configuration of balancing refuses, with the path,', () => {
  for (const [name, upstream, problem] of cases) {
    test(name, () => {
      assert.throws(() => parseConfig({ endpoints: ['127.0.0.1:1'], ...upstream }, upstreamSchema), (error) => error instanceof ConfigError && problem.test(error.message.replace(/^configuration: /gm, '')));
    });
  }
});

test('an endpoint is written in the shortest way that parses to the same', () => {
  const endpoints: readonly WrittenEndpoint[] = ['[::1]:80', 'unix:/run/app', { address: '127.0.0.1:1', weight: 3 }, { address: '127.0.0.1:1', zone: 'a', priority: 2, labels: { version: 'v2' } }];
  for (const endpoint of endpoints) assert.deepEqual(writeEndpoint(endpointSchema.parse(endpoint)), endpoint);
  assert.equal(writeEndpoint(endpointSchema.parse({ address: '127.0.0.1:1', weight: 1, labels: {} })), '127.0.0.1:1');
});
