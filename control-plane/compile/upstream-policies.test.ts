import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { upstreamsSchema } from '../../shared/config/sections.js';
import { Model } from '../model/model.js';
import { resourceSchema } from '../model/resources.js';
import { compile } from './compile.js';

const spec = {
  healthCheck: { path: '/healthz', expectedStatuses: ['200-299', 404], interval: '1s' },
  outlierDetection: { consecutive5xx: 3, successRate: { factor: 2 } },
  limits: { maxRequests: 50, maxRetries: 3 },
};

describe('policies that watch and limit an upstream', () => {
  for (const [placement, gateway, sidecar] of [['ambassador', true, false], ['sidecar', false, true], ['both', true, true], ['none', false, false]] as const) {
    test(`placed at ${placement}, they are in the upstreams of the proxies there and of no others`, () => {
      const resources = [
        { kind: 'Service', name: 'orders', endpoints: ['127.0.0.1:9000'] },
        { kind: 'Route', name: 'all', service: 'orders' },
        { kind: 'Policy', name: 'watch', placement, target: { services: ['orders'] }, spec },
      ].map((resource) => {
        resourceSchema.parse(resource);
        return resource as never;
      });
      for (const [proxy, isThere] of [[{ node: 'g', kind: 'gateway' }, gateway], [{ node: 's', kind: 'sidecar', service: 'users' }, sidecar]] as const) {
        const { upstreams } = compile(Model.of(resources), () => [], proxy) as { upstreams: Record<string, object> };
        assert.deepEqual(upstreams['orders'], { endpoints: ['127.0.0.1:9000'], ...(isThere && spec) });
        assert.doesNotThrow(() => upstreamsSchema.parse(upstreams));
      }
    });
  }

  test('what is wrong with them is named when they are written', () => {
    const { error } = resourceSchema.safeParse({ kind: 'Policy', name: 'watch', placement: 'both', target: { services: ['orders'] }, spec: { limits: { maxRequests: 0 }, healthCheck: { host: 'x' } } });
    assert.deepEqual(error?.issues.map(({ path }) => path.join('.')).sort(), ['spec.healthCheck.path', 'spec.limits.maxRequests']);
  });
});
