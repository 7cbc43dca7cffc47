import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { admissionPolicies } from '../../shared/config/policies.js';
import type { Rejection } from '../../shared/control/snapshot.js';
import { Model } from '../model/model.js';
import type { Placement, Policy, Resource } from '../model/resources.js';
import type { Proxy } from '../compile/compile.js';
import { Publisher, roundGapMs, type Stream } from './publisher.js';

const gateway: Proxy = { node: 'gateway', kind: 'gateway' };
const sidecar: Proxy = { node: 'orders-1', kind: 'sidecar', service: 'orders' };
const base: readonly Resource[] = [{ kind: 'Service', name: 'orders' }, { kind: 'Service', name: 'users' }, { kind: 'Route', name: 'shop', service: 'orders' }];
const jwt = { issuer: 'https://issuer.example', audience: 'shop', jwks: { keys: [] } };
const policy = (placement: Placement, spec: Policy['spec'] = { jwt }): Resource => ({ kind: 'Policy', name: 'tokens', placement, target: { services: ['orders'] }, spec });

/** What a proxy was sent, as it reads it. */
interface Received {
  readonly version: string;
  readonly config: { readonly routes?: readonly Policy['spec'][]; readonly inbound?: Policy['spec']; readonly upstreams: Record<string, { endpoints: unknown[] }> };
}

class TestProxy implements Stream {
  readonly received: Received[] = [];
  readonly events: Buffer[] = [];
  isSlow = false;
  isClosed = false;

  send(event: Buffer): boolean {
    this.events.push(event);
    this.received.push(JSON.parse(event.toString().split('\n')[2]!.slice('data: '.length)) as Received);
    return !this.isSlow;
  }

  close(): void {
    this.isClosed = true;
  }

  get newest(): Received {
    return this.received.at(-1)!;
  }

  /** Whether the newest has the admission policy. */
  get isGuarded(): boolean {
    const { routes = [], inbound = {} } = this.newest.config;
    return [...routes, inbound].some((part) => Object.keys(admissionPolicies).some((setting) => setting in part));
  }
}

function start(resources: readonly Resource[] = base) {
  const clock = new FakeClock();
  const store = { model: Model.of(resources), version: 1 };
  const instances = new Map<string, string[]>();
  const durations = { compiled: 0, pushed: [] as number[], bytes: 0 };
  const publisher = new Publisher({
    store, clock,
    instances: { endpoints: (service) => instances.get(service) ?? [] },
    metrics: { compiled: () => durations.compiled++, pushed: (ms) => durations.pushed.push(ms), sent: (bytes) => (durations.bytes += bytes) },
  });
  return {
    clock, publisher, instances, durations,
    connect: (proxy: Proxy, has?: string) => {
      const stream = new TestProxy();
      return { stream, proxy, disconnect: publisher.connect(proxy, stream, has), accept: (rejections?: Rejection[]) => publisher.answer(proxy.node, stream.newest.version, undefined, rejections), reject: () => publisher.answer(proxy.node, stream.newest.version, 'no such file') };
    },
    change: (...changed: Resource[]) => {
      store.model = store.model.with(changed);
      store.version++;
      publisher.publish();
    },
  };
}

describe('rounds', () => {
  test('a change that nothing came before goes out at once, and a burst after it goes out together', async () => {
    const { clock, publisher, instances, connect } = start();
    const { stream } = connect(sidecar);
    await clock.advance(1_000);
    for (let index = 0; index < 100; index++) {
      instances.set('users', Array.from({ length: index + 1 }, (_, port) => `127.0.0.1:${port + 1}`));
      publisher.publish();
      await clock.advance(0.5);
      if (index === 0) assert.equal(stream.received.length, 2, 'the first waits for nobody');
    }
    await clock.advance(roundGapMs);
    assert.equal(stream.newest.config.upstreams['users']!.endpoints.length, 100);
    assert.equal(stream.received.length, 3, 'at the connection, the first, and all the others');
    assert.equal(clock.pending, 0);
  });

  test('a snapshot is compiled once for all that get the same', async () => {
    const { clock, instances, publisher, connect, durations } = start();
    const all = Array.from({ length: 50 }, (_, index) => connect({ ...sidecar, node: `orders-${index}`, service: index % 2 === 0 ? 'orders' : 'users' }));
    assert.equal(durations.compiled, 2);
    instances.set('users', ['127.0.0.1:1']);
    publisher.publish();
    await clock.advance(1);
    assert.equal(durations.compiled, 4);
    assert.equal(all[0]!.stream.events[1], all[2]!.stream.events[1], 'the very same bytes');
  });

  test('one that takes long leaves the event loop to others every 20 ms, sends everybody the same model, and what changes meanwhile after it', async () => {
    const fake = new FakeClock();
    let spent = 0;
    const clock: Clock = { now: () => fake.now() + spent, wallNow: () => fake.wallNow(), after: (ms, callback) => fake.after(ms, callback) };
    const store = { model: Model.empty, version: 0 };
    const publisher = new Publisher({ store, clock, instances: { endpoints: () => [] } });
    const told: string[] = [];
    const connect = (node: string): void => void publisher.connect({ ...sidecar, node, service: node }, {
      send: (event) => {
        spent += 12;
        told.push(`${node} ${/"(services?-\d)":\{"endpoints/.exec(event.toString())?.[1]}${event.includes('"blank":true') ? ' blank' : ''}`);
        return true;
      },
      close: () => {},
    });
    const change = (name: string): void => {
      store.model = Model.of([{ kind: 'Service', name }]);
      store.version++;
      publisher.publish();
    };
    for (const node of ['a', 'b', 'c']) connect(node);
    assert.deepEqual(told.splice(0), ['a undefined blank', 'b undefined blank', 'c undefined blank']);
    change('service-1');
    fake.after(0, () => {
      told.push('others');
      change('service-2');
      connect('d');
      assert.equal(publisher.isSettled, false);
    });
    await fake.advance(0);
    assert.deepEqual(told.splice(0), ['a service-1', 'b service-1', 'others', 'd service-1', 'c service-1']);
    await fake.advance(roundGapMs);
    assert.deepEqual(told, ['a service-2', 'b service-2', 'c service-2', 'd service-2']);
    assert.equal(fake.pending, 0);
  });

  test('what does not concern a proxy is not sent to it', async () => {
    const { clock, connect, change } = start();
    const { stream } = connect(gateway);
    change({ kind: 'Service', name: 'inventory' });
    await clock.advance(1);
    assert.equal(stream.received.length, 1);
  });

  test('a reader that is behind gets the newest when it has drained, and none of those in between', async () => {
    const { clock, publisher, instances, connect } = start();
    const { stream, proxy } = connect(sidecar);
    stream.isSlow = true;
    for (let port = 1; port <= 1_000; port++) {
      instances.set('users', [`127.0.0.1:${port}`]);
      publisher.publish();
      await clock.advance(roundGapMs);
    }
    assert.equal(stream.received.length, 2);
    publisher.drained(proxy.node, stream);
    assert.deepEqual([stream.received.length, stream.newest.config.upstreams['users']!.endpoints], [3, ['127.0.0.1:1000']]);
    stream.isSlow = false;
    publisher.drained(proxy.node, stream);
    assert.equal(stream.received.length, 3, 'the same is not sent again');
  });

  test('a proxy that has the newest already is sent nothing, and counts as having accepted it', async () => {
    const { connect, publisher } = start();
    const first = connect(gateway);
    const { version } = first.stream.newest;
    const again = connect(gateway, version);
    assert.equal(first.stream.isClosed, true);
    assert.equal(again.stream.received.length, 0);
    assert.deepEqual([publisher.isSettled, publisher.statuses[0]!.accepted], [true, version]);
    assert.equal(connect(gateway, 'another').stream.received.length, 1);
  });

  test('who is gone is remembered without its snapshot, and counted no more', () => {
    const { connect, publisher } = start();
    const { disconnect, accept } = connect(gateway);
    accept();
    disconnect();
    assert.deepEqual(publisher.counts, { connected: 0, rejecting: 0 });
    assert.equal(publisher.statuses[0]!.connected, false);
    assert.equal(publisher.answer('nobody', 'x', undefined), false);
  });

  test('the time from a change to its acceptance is measured, once', async () => {
    const { clock, connect, change, durations } = start();
    const { accept } = connect(gateway);
    accept();
    change(policy('ambassador'));
    await clock.advance(30);
    accept();
    accept();
    assert.deepEqual(durations.pushed, [30]);
    assert.ok(durations.bytes > 100);
  });

  test('an answer for what a proxy was never sent says nothing', async () => {
    const { connect, publisher, change, clock } = start();
    const { stream } = connect(gateway);
    const first = stream.newest.version;
    for (const reason of [undefined, 'no such file']) assert.equal(publisher.answer('gateway', 'made up', reason), true);
    assert.deepEqual([publisher.statuses[0]!.accepted, publisher.statuses[0]!.rejected], [undefined, undefined]);
    change(policy('ambassador'));
    await clock.advance(roundGapMs);
    publisher.answer('gateway', first, undefined);
    assert.equal(publisher.statuses[0]!.accepted, first, 'one that is late counts for the version that it is for');
    // Its stream is another now, and what it was sent on the one before is in force.
    connect(gateway, 'something else');
    publisher.answer('gateway', stream.newest.version, undefined);
    assert.equal(publisher.isSettled, true);
  });

  test('parts that a proxy rejects are in its status, until it accepts the whole', () => {
    const { connect, publisher } = start();
    const { accept } = connect(gateway);
    accept([{ path: 'routes[0]', resource: 'Policy/tokens', reason: 'no such file' }]);
    assert.deepEqual(publisher.statuses[0]!.rejections, [{ path: 'routes[0]', resource: 'Policy/tokens', reason: 'no such file' }]);
    assert.equal(publisher.counts.rejecting, 1);
    accept();
    assert.deepEqual([publisher.statuses[0]!.rejections, publisher.counts.rejecting], [undefined, 0]);
  });
});

describe('what admits requests changes its place', () => {
  for (const [from, to, first, last] of [['ambassador', 'sidecar', sidecar, gateway], ['sidecar', 'ambassador', gateway, sidecar]] as const) {
    test(`from ${from} to ${to}: the new place has it before the old one loses it`, async () => {
      const { clock, connect, change, publisher } = start([...base, policy(from)]);
      const [gaining, losing] = [connect(first), connect(last)];
      gaining.accept();
      losing.accept();
      assert.deepEqual([gaining.stream.isGuarded, losing.stream.isGuarded], [false, true]);
      change(policy(to));
      await clock.advance(roundGapMs);
      assert.deepEqual([gaining.stream.isGuarded, losing.stream.isGuarded], [true, true]);
      assert.equal(publisher.isSettled, false);
      gaining.accept();
      await clock.advance(roundGapMs);
      assert.deepEqual([gaining.stream.isGuarded, losing.stream.isGuarded], [true, false]);
      losing.accept();
      assert.equal(publisher.isSettled, true);
      assert.equal(gaining.stream.received.length, 2, 'the new place is told once');
      assert.equal(clock.pending, 0);
    });
  }

  test('authorization as well, and what its rules know a caller by does not leave before it', async () => {
    const rules = { rules: [{ name: 'staff', action: 'allow' as const, claims: { team: ['staff'] } }] };
    const [tokens, staff] = [policy('both'), { ...(policy('ambassador', { authorization: rules }) as Policy), name: 'staff' }];
    const { clock, connect, change, publisher } = start([...base, tokens, staff]);
    const [outside, inside] = [connect(gateway), connect(sidecar)];
    const has = ({ stream }: typeof outside): string[] => Object.keys(stream.newest.config.routes?.[0] ?? stream.newest.config.inbound!).filter((key) => key in admissionPolicies);
    outside.accept();
    change(policy('sidecar'), { ...staff, placement: 'sidecar' });
    await clock.advance(roundGapMs);
    assert.deepEqual([has(outside), has(inside)], [['jwt', 'authorization'], ['jwt', 'authorization']]);
    inside.accept([{ path: 'inbound.authorization', reason: 'cannot' }]);
    await clock.advance(5_000);
    assert.deepEqual([has(outside), publisher.held], [['jwt', 'authorization'], ['authorization of orders stays in the ambassador: orders-1 refused it']]);
    inside.accept();
    await clock.advance(roundGapMs);
    assert.deepEqual([has(outside), has(inside)], [[], ['jwt', 'authorization']]);
  });

  test('also when it is another policy there that has it, in the same change', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador', { rateLimit: { max: 5 } })]);
    const [outside, inside] = [connect(gateway), connect(sidecar)];
    change({ ...(policy('none') as Policy) }, { ...(policy('sidecar', { rateLimit: { max: 9 } }) as Policy), name: 'other' });
    await clock.advance(roundGapMs);
    assert.deepEqual([outside.stream.isGuarded, inside.stream.isGuarded], [true, true]);
    inside.accept();
    await clock.advance(roundGapMs);
    assert.equal(outside.stream.isGuarded, false);
  });

  test('a proxy that does not answer is waited for no longer than 500 ms', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador')]);
    const [outside] = [connect(gateway), connect(sidecar)];
    change(policy('sidecar'));
    await clock.advance(450);
    assert.equal(outside.stream.isGuarded, true);
    await clock.advance(150);
    assert.equal(outside.stream.isGuarded, false);
  });

  test('with nobody at the new place nobody is waited for', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador')]);
    const { stream } = connect(gateway);
    change(policy('sidecar'));
    await clock.advance(2 * roundGapMs);
    assert.equal(stream.isGuarded, false);
  });

  test('one that comes again before it has answered is waited for as long', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador')]);
    const [outside] = [connect(gateway), connect(sidecar)];
    change(policy('sidecar'));
    await clock.advance(1);
    const again = connect(sidecar);
    await clock.advance(400);
    assert.equal(outside.stream.isGuarded, true);
    again.accept();
    await clock.advance(roundGapMs);
    assert.equal(outside.stream.isGuarded, false);
  });

  test('what a proxy accepted before it was started anew is not its answer', async () => {
    const { clock, connect, change, publisher } = start([...base, policy('ambassador')]);
    const [outside, inside] = [connect(gateway), connect(sidecar)];
    connect({ ...sidecar, node: 'orders-2' });
    change(policy('sidecar'));
    await clock.advance(1);
    inside.accept();
    const anew = connect(sidecar);
    assert.equal(publisher.statuses.find(({ node }) => node === 'orders-1')!.accepted, anew.stream.newest.version);
    publisher.answer('orders-2', anew.stream.newest.version, undefined);
    await clock.advance(roundGapMs);
    assert.equal(outside.stream.isGuarded, true);
    anew.reject();
    await clock.advance(5_000);
    assert.equal(outside.stream.isGuarded, true);
  });

  for (const [how, refuse] of [
    ['the whole snapshot', ({ reject }: ReturnType<ReturnType<typeof start>['connect']>) => reject()],
    ['that setting', ({ accept }: ReturnType<ReturnType<typeof start>['connect']>) => accept([{ path: 'inbound.jwt', reason: 'no such file' }])],
  ] as const) {
    const heldUp = async () => {
      const started = start([...base, policy('ambassador')]);
      const { clock, connect, change, publisher } = started;
      const [outside, inside] = [connect(gateway), connect(sidecar)];
      for (const proxy of [outside, inside]) proxy.accept();
      change(policy('sidecar'));
      await clock.advance(roundGapMs);
      refuse(inside);
      await clock.advance(1_000);
      const isHeld = (): boolean => {
        assert.deepEqual(publisher.held, outside.stream.isGuarded ? ['jwt of orders stays in the ambassador: orders-1 refused it'] : []);
        return outside.stream.isGuarded;
      };
      assert.equal(isHeld(), true);
      return { ...started, outside, inside, isHeld };
    };

    test(`a proxy that refused ${how} has refused it while its stream is broken, and when it has come again, until it takes it`, async () => {
      const { clock, connect, inside, isHeld, publisher, instances } = await heldUp();
      inside.disconnect();
      await clock.advance(30_000);
      assert.equal(isHeld(), true, 'it is away');
      instances.set('users', ['127.0.0.1:1']);
      publisher.publish();
      await clock.advance(29_000);
      assert.equal(isHeld(), true, 'others register meanwhile');
      const again = connect(sidecar);
      await clock.advance(300_000);
      assert.equal(isHeld(), true, 'it is back, and has not answered');
      refuse(again);
      await clock.advance(5_000);
      assert.equal(isHeld(), true, 'it says the same');
      const last = connect(sidecar);
      await clock.advance(5_000);
      assert.equal(isHeld(), true, 'a second stream has ended the first');
      last.accept();
      await clock.advance(roundGapMs);
      assert.equal(isHeld(), false);
      assert.equal(clock.pending, 0);
    });

    test(`a proxy that refused ${how} holds nothing up when it has been away for a minute`, async () => {
      const { clock, inside, isHeld, connect } = await heldUp();
      inside.disconnect();
      await clock.advance(59_999);
      assert.equal(isHeld(), true);
      await clock.advance(1 + roundGapMs);
      assert.equal(isHeld(), false);
      assert.equal(clock.pending, 0);
      connect(sidecar, 'another');
      await clock.advance(5_000);
      assert.equal(isHeld(), false, 'what has arrived stays');
    });

    test(`a proxy that refused ${how} and is away, or takes its time, has refused it also when something else is written`, async () => {
      const { clock, change, connect, inside, isHeld } = await heldUp();
      change({ kind: 'Service', name: 'inventory' });
      await clock.advance(5_000);
      assert.equal(isHeld(), true);
      inside.disconnect();
      change({ kind: 'Service', name: 'payments' });
      await clock.advance(5_000);
      assert.equal(isHeld(), true);
      connect(sidecar).accept();
      await clock.advance(roundGapMs);
      assert.equal(isHeld(), false);
    });

    test(`a proxy that is always a version behind and refuses ${how} has refused it`, async () => {
      const { clock, change, connect, publisher, instances } = start([...base, policy('ambassador')]);
      const [outside, inside] = [connect(gateway), connect(sidecar)];
      change(policy('sidecar'));
      for (let port = 1; port <= 50; port++) {
        await clock.advance(roundGapMs);
        const { version } = inside.stream.newest;
        instances.set('users', [`127.0.0.1:${port}`]);
        publisher.publish();
        await clock.advance(1);
        assert.notEqual(inside.stream.newest.version, version);
        refuse({ ...inside, reject: () => publisher.answer('orders-1', version, 'no such file'), accept: (rejections) => publisher.answer('orders-1', version, undefined, rejections) });
      }
      assert.equal(outside.stream.isGuarded, true);
    });

    test(`an acceptance of what was before takes back no refusal of ${how}`, async () => {
      const { clock, change, inside, isHeld, publisher } = await heldUp();
      publisher.answer('orders-1', inside.stream.received[0]!.version, undefined);
      assert.equal(publisher.counts.rejecting, 1);
      change({ kind: 'Service', name: 'inventory' });
      await clock.advance(5_000);
      assert.equal(isHeld(), true);
    });

    test(`one that has never answered is waited for no longer than 500 ms when the one that refused ${how} takes it`, async () => {
      const { clock, connect, inside, isHeld, outside } = await heldUp();
      connect({ ...sidecar, node: 'orders-2' });
      await clock.advance(5_000);
      assert.equal(isHeld(), true);
      inside.accept();
      await clock.advance(450);
      assert.equal(outside.stream.isGuarded, true);
      await clock.advance(150);
      assert.equal(isHeld(), false);
    });

    test(`what was in both places does not leave the one when the other refused ${how}`, async () => {
      const { clock, connect, change, publisher } = start([...base, policy('both')]);
      const [outside, inside] = [connect(gateway), connect(sidecar)];
      outside.accept();
      refuse(inside);
      change(policy('sidecar'));
      await clock.advance(5_000);
      assert.deepEqual([outside.stream.isGuarded, publisher.held], [true, ['jwt of orders stays in the ambassador: orders-1 refused it']]);
      inside.accept();
      await clock.advance(roundGapMs);
      assert.deepEqual([outside.stream.isGuarded, inside.stream.isGuarded, inside.stream.received.length], [false, true, 1]);
    });

    test(`a proxy that refused ${how} and is of another service now holds nothing up`, async () => {
      const { clock, connect, inside, isHeld } = await heldUp();
      inside.disconnect();
      connect({ ...sidecar, service: 'users' });
      await clock.advance(roundGapMs);
      assert.equal(isHeld(), false);
    });

    test(`when the new place refuses ${how}, the old one keeps it, until the new place takes it`, async () => {
      const { clock, connect, change, publisher, instances } = start([...base, policy('ambassador')]);
      const [outside, inside] = [connect(gateway), connect(sidecar)];
      outside.accept();
      change(policy('sidecar'));
      await clock.advance(roundGapMs);
      refuse(inside);
      await clock.advance(5_000);
      assert.equal(outside.stream.isGuarded, true);
      assert.deepEqual(publisher.held, ['jwt of orders stays in the ambassador: orders-1 refused it']);
      // Registrations go on meanwhile, and open nothing.
      instances.set('users', ['127.0.0.1:1']);
      publisher.publish();
      await clock.advance(5_000);
      assert.deepEqual([outside.stream.isGuarded, publisher.held.length], [true, 1]);
      inside.accept();
      await clock.advance(roundGapMs);
      assert.deepEqual([outside.stream.isGuarded, publisher.held], [false, []]);
    });
  }

  test('a refusal of something else holds nothing up', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador')]);
    const [outside, inside] = [connect(gateway), connect(sidecar)];
    change(policy('sidecar'));
    await clock.advance(roundGapMs);
    inside.accept([{ path: 'upstreams.users.retry', reason: 'no' }]);
    await clock.advance(roundGapMs);
    assert.equal(outside.stream.isGuarded, false);
  });

  test('one that is moved back before it has arrived never left', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador')]);
    const [outside, inside] = [connect(gateway), connect(sidecar)];
    change(policy('sidecar'));
    await clock.advance(roundGapMs);
    change(policy('ambassador'));
    await clock.advance(1_000);
    assert.deepEqual(outside.stream.received.map(({ config }) => config.routes![0]!.jwt !== undefined), [true]);
    assert.equal(inside.stream.isGuarded, false);
  });

  test('retries and faults move at once', async () => {
    const { clock, connect, change } = start([...base, policy('ambassador', { fault: { abort: { status: 503, percent: 5 } } })]);
    const [outside] = [connect(gateway), connect(sidecar)];
    change(policy('sidecar', { fault: { abort: { status: 503, percent: 5 } } }));
    await clock.advance(1);
    assert.equal(outside.stream.received.length, 2);
  });
});
