import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { outlierDetectionSchema } from '../../config/health.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { EndpointHealth } from '../endpoint-health.js';
import { OutlierDetection, type OutlierEvent } from './outlier-detection.js';

type Outcome = number | ErrorCode;

function start(endpoints: number, config: object = {}) {
  const clock = new FakeClock();
  const events: OutlierEvent[] = [];
  const detection = new OutlierDetection(outlierDetectionSchema.parse(config), { clock, onEvent: (event) => events.push(event) });
  const all = Array.from({ length: endpoints }, (_, index) => {
    const health = new EndpointHealth();
    const outlier = detection.watch(`e${index}`, health);
    let outcome: Outcome = 200;
    const service = outlier.layer(async () => {
      if (typeof outcome === 'number') return response(outcome);
      throw new ProxyError(outcome);
    });
    const send = async (...outcomes: readonly Outcome[]): Promise<Outcome[]> => {
      const seen: Outcome[] = [];
      for (outcome of outcomes) {
        const over = exchange();
        seen.push(await service(request(over), over).then(({ status }) => status, (error: unknown) => (error as ProxyError).code));
      }
      return seen;
    };
    return { health, outlier, send, isOut: () => !health.isHealthy };
  });
  return { clock, detection, events, endpoints: all, ejectedFor: () => events.flatMap((event) => (event.kind === 'ejected' ? [event.forMs] : [])) };
}

const times = <T>(count: number, value: T): T[] => Array<T>(count).fill(value);

describe('outlier detection', () => {
  const cases: readonly (readonly [name: string, config: object, outcomes: readonly Outcome[], reason: string | undefined])[] = [
    ['five answers of 500 in a row eject', {}, times(5, 500), 'consecutive_5xx'],
    ['four do not', {}, times(4, 500), undefined],
    ['a success between them starts the count again', {}, [500, 500, 500, 500, 200, 500, 500], undefined],
    ['errors of the connection count as answers of 500 do', {}, [500, 'upstream_connect_failed', 'upstream_timeout', 'upstream_reset', 502], 'consecutive_5xx'],
    ['a client that leaves neither counts nor starts the count again', {}, [500, 500, 'client_closed', 500, 500, 'client_closed', 500], 'consecutive_5xx'],
    ['refusals of our own are not failures', {}, [...times(10, 'upstream_queue_full' as const), ...times(10, 'deadline_exceeded' as const)], undefined],
    ['0 switches a kind off', { consecutive5xx: 0 }, times(50, 500), undefined],
    ['gateway errors are counted apart: 500 is none', { consecutive5xx: 0, consecutiveGatewayErrors: 3 }, [502, 503, 500, 504, 'upstream_reset'], undefined],
    ['gateway errors in a row eject', { consecutive5xx: 0, consecutiveGatewayErrors: 3 }, [502, 'upstream_timeout', 504], 'consecutive_gateway_errors'],
    ['errors of the connection are counted apart: an answer is none', { consecutive5xx: 0, consecutiveErrors: 2 }, ['upstream_connect_failed', 503, 'upstream_connect_failed'], undefined],
    ['errors of the connection in a row eject', { consecutive5xx: 0, consecutiveErrors: 2 }, ['upstream_connect_failed', 'upstream_timeout'], 'consecutive_errors'],
  ];
  for (const [name, config, outcomes, reason] of cases) {
    test(name, async () => {
      const { endpoints, events, detection } = start(3, config);
      assert.deepEqual(await endpoints[0]!.send(...outcomes), outcomes, 'outcomes pass as they came');
      assert.deepEqual(events.map((event) => event.kind === 'ejected' && event.reason), reason === undefined ? [] : [reason]);
      assert.equal(endpoints[0]!.isOut(), reason !== undefined);
      detection.close();
    });
  }

  for (const [status, isGrpc, reason] of [[14, true, 'consecutive_gateway_errors'], [4, true, 'consecutive_gateway_errors'], [13, true, 'consecutive_5xx'], [2, true, 'consecutive_5xx'], [5, true, undefined], [14, false, undefined]] as const) {
    test(`gRPC’s status ${status} in answers without messages ${reason === undefined ? 'ejects nobody' : `ejects as ${reason}`}${isGrpc ? '' : ' where none is expected'}`, async () => {
      const events: OutlierEvent[] = [];
      const detection = new OutlierDetection(outlierDetectionSchema.parse({ consecutive5xx: 4, consecutiveGatewayErrors: 3 }), { clock: new FakeClock(), isGrpc, onEvent: (event) => events.push(event) });
      const { layer } = detection.watch('e0', new EndpointHealth());
      const service = layer(async () => response(200, { 'content-type': 'application/grpc', 'grpc-status': String(status) }));
      for (let count = 1; count <= 4; count++) await service(request(exchange()), exchange());
      assert.deepEqual(events.map((event) => event.kind === 'ejected' && event.reason), reason === undefined ? [] : [reason]);
      detection.close();
    });
  }

  test('an ejected endpoint comes back at the interval after its time, and stays out longer each time', async () => {
    const { endpoints, clock, ejectedFor, detection } = start(3, { interval: '10s', baseEjectionTime: '30s', maxEjectionTime: '75s' });
    const [bad] = endpoints;
    for (const out of [30_000, 60_000, 75_000, 75_000]) {
      await bad!.send(...times(5, 503));
      // Ejected on an interval's edge, so its time ends on one as well; 75 s end between two.
      const until = Math.ceil(out / 10_000) * 10_000;
      await clock.advance(until - 1);
      assert.equal(bad!.isOut(), true, `${out}`);
      await clock.advance(1);
      assert.equal(bad!.isOut(), false, `${out}`);
    }
    assert.deepEqual(ejectedFor(), [30_000, 60_000, 75_000, 75_000]);
    detection.close();
  });

  test('the time shrinks again with each interval that it is in use', async () => {
    const { endpoints, clock, ejectedFor, detection } = start(3, { interval: '10s', baseEjectionTime: '30s' });
    const [bad] = endpoints;
    await bad!.send(...times(5, 503));
    await clock.advance(30_000);
    await bad!.send(...times(5, 503));
    await clock.advance(60_000);
    await clock.advance(10_000);
    await bad!.send(...times(5, 503));
    await clock.advance(60_000);
    await clock.advance(20_000);
    await bad!.send(...times(5, 503));
    assert.deepEqual(ejectedFor(), [30_000, 60_000, 60_000, 30_000]);
    detection.close();
  });

  test('what ends after the ejection does not eject again', async () => {
    const { endpoints, ejectedFor, detection } = start(3);
    await endpoints[0]!.send(...times(20, 503));
    assert.equal(ejectedFor().length, 1);
    detection.close();
  });

  for (const [count, percent, out] of [[10, 30, 3], [10, 35, 3], [3, 10, 1], [1, 0, 1], [4, 100, 4]] as const) {
    test(`of ${count} endpoints that all fail, with at most ${percent} percent out, ${out} ${out === 1 ? 'is' : 'are'} ejected`, async () => {
      const { endpoints, events, detection } = start(count, { maxEjectedPercent: percent });
      for (const endpoint of endpoints) await endpoint.send(...times(5, 500));
      assert.equal(endpoints.filter(({ isOut }) => isOut()).length, out);
      assert.equal(detection.ejected, out);
      assert.equal(events.filter(({ kind }) => kind === 'refused').length, count - out);
      detection.close();
    });
  }

  describe('success rate', () => {
    const config = { consecutive5xx: 0, maxEjectedPercent: 50, successRate: { minHosts: 5, minRequests: 10, factor: 1.9 } };
    const share = (failures: number, of = 20): Outcome[] => [...times(failures, 500), ...times(of - failures, 200)];

    test('ejects the endpoint that succeeds far less often than the others', async () => {
      const { endpoints, clock, events, detection } = start(6, config);
      for (const [index, failures] of [1, 0, 1, 12, 0, 1].entries()) await endpoints[index]!.send(...share(failures));
      await clock.advance(10_000);
      assert.deepEqual(events.map((event) => [event.kind, event.endpoint, event.kind === 'ejected' && event.reason]), [['ejected', 'e3', 'success_rate']]);
      detection.close();
    });

    const neither: readonly (readonly [name: string, failures: readonly number[], of: number])[] = [
      ['when all fail alike', [10, 10, 10, 10, 10, 10], 20],
      ['when they differ as much as chance makes them', [1, 2, 3, 2, 1, 3], 20],
      ['with too few endpoints', [0, 0, 0, 19], 20],
      ['with too few requests', [0, 0, 0, 0, 0, 9], 9],
    ];
    for (const [name, failures, of] of neither) {
      test(`ejects nobody ${name}`, async () => {
        const { endpoints, clock, events, detection } = start(failures.length, config);
        for (const [index, count] of failures.entries()) await endpoints[index]!.send(...share(count, of));
        await clock.advance(10_000);
        assert.deepEqual(events, []);
        detection.close();
      });
    }

    test('compares one interval, and forgets the one before', async () => {
      const { endpoints, clock, events, detection } = start(6, { ...config, successRate: { ...config.successRate, minRequests: 25 } });
      for (let interval = 0; interval < 2; interval++) {
        for (const [index, failures] of [0, 0, 0, 12, 0, 0].entries()) await endpoints[index]!.send(...share(failures));
        await clock.advance(10_000);
      }
      assert.deepEqual(events, []);
      detection.close();
    });

    test('an answer that began well and was broken off is no success', async () => {
      const { endpoints, clock, events, detection } = start(6, config);
      for (const { send } of endpoints) await send(...share(0));
      for (let index = 0; index < 12; index++) endpoints[3]!.outlier.brokeOff();
      await clock.advance(10_000);
      assert.deepEqual(events.map(({ endpoint }) => endpoint), ['e3']);
      endpoints[3]!.outlier.brokeOff();
      detection.close();
    });

    test('is off unless it is configured', async () => {
      const { endpoints, clock, events, detection } = start(6, { consecutive5xx: 0 });
      for (const [index, failures] of [0, 0, 0, 200, 0, 0].entries()) await endpoints[index]!.send(...share(failures, 200));
      await clock.advance(10_000);
      assert.deepEqual(events, []);
      detection.close();
    });
  });

  test('its timer ends with its last endpoint, and begins again with the next', async () => {
    const { endpoints, clock, detection } = start(2);
    for (const { outlier } of endpoints) outlier.close();
    assert.equal(clock.pending, 0);
    const back = detection.watch('e9', new EndpointHealth());
    assert.equal(clock.pending, 1);
    back.close();
    detection.close();
    assert.equal(clock.pending, 0);
  });
});
