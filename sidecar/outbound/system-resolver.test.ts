import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { SystemResolver } from './system-resolver.js';

/** A resolver whose answers the test gives. */
function start() {
  const clock = new FakeClock();
  const asked: string[] = [];
  let answer: ((addresses: readonly string[] | Error) => void) | undefined;
  const resolver = new SystemResolver(clock, (name) => {
    asked.push(name);
    return new Promise((resolve, reject) => (answer = (addresses) => (addresses instanceof Error ? reject(addresses) : resolve(addresses))));
  });
  return { clock, asked, resolver, answer: (addresses: readonly string[] | Error) => answer!(addresses) };
}

test('names are looked up one at a time, in turn, whatever became of the one before', async () => {
  const { clock, asked, resolver, answer } = start();
  const all = ['a.test', 'b.test', 'c.test'].map((name) => resolver.resolve(name));
  const refused = assert.rejects(all[0]!, /no such name/);
  assert.deepEqual(asked, ['a.test']);
  answer(new Error('no such name'));
  await refused;
  await clock.advance(0);
  assert.deepEqual(asked, ['a.test', 'b.test']);
  answer(['192.0.2.2']);
  assert.deepEqual(await all[1], ['192.0.2.2']);
  await clock.advance(0);
  answer(['192.0.2.3']);
  assert.deepEqual(await all[2], ['192.0.2.3']);
  assert.equal(clock.pending, 0);
});

test('behind a look-up that hangs none waits for long, and the next goes on when it is over', async () => {
  const { clock, asked, resolver, answer } = start();
  const hanging = resolver.resolve('hangs.test');
  const behind = assert.rejects(resolver.resolve('behind.test'), { message: 'behind.test was not looked up within 5000 ms: another look-up takes longer' });
  await clock.advance(5_000);
  await behind;
  const later = resolver.resolve('later.test');
  answer(['192.0.2.1']);
  assert.deepEqual(await hanging, ['192.0.2.1']);
  await clock.advance(0);
  assert.deepEqual(asked, ['hangs.test', 'later.test']);
  answer(['192.0.2.2']);
  assert.deepEqual(await later, ['192.0.2.2']);
});

test('an address waits for nobody', async () => {
  const { asked, resolver } = start();
  void resolver.resolve('hangs.test');
  assert.deepEqual(await Promise.all(['192.0.2.1', '2001:db8::1'].map((address) => resolver.resolve(address))), [['192.0.2.1'], ['2001:db8::1']]);
  assert.deepEqual(asked, ['hangs.test']);
});

test('the system knows its own name', async () => {
  assert.ok((await new SystemResolver(new FakeClock()).resolve('localhost')).some((address) => address === '127.0.0.1' || address === '::1'));
});
