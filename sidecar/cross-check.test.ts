import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sidecarDynamicSchema, sidecarSchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { ConfigError, parseConfig } from '../shared/config/load.js';

function problemsOf(run: () => unknown): string[] {
  try {
    run();
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

describe('routes of the sidecar', () => {
  const upstreams = { inventory: { endpoints: [] }, 'inventory-v2': { endpoints: [] } };
  const check = (routes: readonly object[], changes: object = {}): string[] =>
    problemsOf(() => parseConfig({ service: 'orders', outbound: { listen: { port: 0 } }, routes, upstreams, ...changes }, sidecarSchema, crossCheck));

  test('are those of the gateway, for calls to a host', () => {
    assert.deepEqual(check([{ match: { host: 'inventory' }, split: [{ upstream: 'inventory', weight: 9 }, { upstream: 'inventory-v2', weight: 1 }], mirror: { upstream: 'inventory-v2' } }]), []);
    assert.deepEqual(check([{ match: { path: '/x' }, upstream: 'inventory' }]), ['routes[0].match.host: is missing: calls go by the host that they are for']);
    assert.deepEqual(check([{ match: { host: 'inventory' }, upstream: 'nowhere' }]), ['routes[0].upstream: there is no upstream "nowhere"; there is inventory, inventory-v2']);
  });

  test('need an outbound listener', () => {
    assert.ok(check([{ match: { host: 'inventory' }, upstream: 'inventory' }], { outbound: undefined, inbound: { listen: { port: 0 }, app: '127.0.0.1:1' } }).some((text) => text.startsWith('routes: ')));
  });

  test('are checked in a snapshot too', () => {
    assert.deepEqual(problemsOf(() => parseConfig({ routes: [{ match: { host: 'inventory' }, upstream: 'nowhere' }], upstreams }, sidecarDynamicSchema, crossCheck)), ['routes[0].upstream: there is no upstream "nowhere"; there is inventory, inventory-v2']);
  });

  test('an application’s own side takes faults and header changes, and refuses framing', () => {
    const inbound = { listen: { port: 0 }, app: '127.0.0.1:1', fault: { abort: { status: 503 } }, headers: { response: { remove: ['Keep-Alive'] } } };
    assert.match(check([], { inbound }).join(), /^inbound\.headers\.response\.remove\[0\]: is not to be changed: Keep-Alive frames/);
  });
});
