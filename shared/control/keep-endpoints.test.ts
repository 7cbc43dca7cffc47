import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { keepEndpoints } from './keep-endpoints.js';

const one = '127.0.0.1:1';
const two = { address: '127.0.0.1:2', zone: 'a' };
const three = '127.0.0.1:3';
const inForce = { upstreams: { orders: { endpoints: [one, two], retry: { attempts: 2 } } } };

describe('endpoints that a snapshot does not name', () => {
  const cases: readonly (readonly [name: string, endpoints: unknown, meaning: { partial?: Record<string, string[]>; vacated?: string[] }, expected: unknown])[] = [
    ['go when it names others', [three], {}, [three]],
    ['stay when it names none', [], {}, [one, two]],
    ['go when it means none', [], { vacated: ['orders'] }, []],
    ['stay beside those that it names, while it may not know all', [three], { partial: { orders: [] } }, [one, two, three]],
    ['stay while it may not know any', [], { partial: { orders: [] } }, [one, two]],
    ['go when they have left, also while it may not know all', [three], { partial: { orders: [one] } }, [two, three]],
    ['all go when all have left', [], { partial: { orders: [one, '127.0.0.1:2'] } }, []],
    ['give way to what it says of the same address', ['127.0.0.1:2'], { partial: { orders: [] } }, [one, '127.0.0.1:2']],
  ];
  for (const [name, endpoints, { partial = {}, vacated = [] }, expected] of cases) {
    test(name, () => {
      const { document } = keepEndpoints({ config: { upstreams: { orders: { endpoints, retry: { attempts: 3 } } } }, partial, vacated }, inForce);
      assert.deepEqual(document, { upstreams: { orders: { endpoints: expected, retry: { attempts: 3 } } } });
    });
  }

  test('an upstream that is gone from the document is gone, and one that nothing is known of is as it comes', () => {
    const config = { upstreams: { users: { endpoints: [] } } };
    assert.equal(keepEndpoints({ config, partial: {}, vacated: [] }, inForce).document, config);
    assert.equal(keepEndpoints({ config, partial: { users: [] }, vacated: [] }, undefined).document, config);
  });

  test('what nobody has checked yet does no harm', () => {
    for (const upstreams of [undefined, 7, { orders: 7 }, { orders: { endpoints: 7 } }, { orders: { endpoints: [7, null, { zone: 'a' }] } }]) {
      keepEndpoints({ config: { upstreams }, partial: { orders: [one] }, vacated: [] }, { upstreams: { orders: { endpoints: 'x' } } });
    }
  });
});
