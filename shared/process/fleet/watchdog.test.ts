import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { watch } from './watchdog.js';

describe('the watch over a worker', () => {
  function start(answers: () => Promise<unknown>): { readonly clock: FakeClock; readonly asked: () => number; readonly givenUp: () => number; readonly end: () => void } {
    const clock = new FakeClock();
    let asked = 0;
    let givenUp = 0;
    const ask = (): Promise<unknown> => {
      asked++;
      return answers();
    };
    const end = watch(clock, ask, () => givenUp++);
    return { clock, asked: () => asked, givenUp: () => givenUp, end };
  }
  const never = (): Promise<unknown> => new Promise(() => {});

  test('gives up one that does not answer for half a minute, once', async () => {
    const { clock, givenUp } = start(never);
    await clock.advance(34_999);
    assert.equal(givenUp(), 0);
    await clock.advance(60_000);
    assert.equal(givenUp(), 1);
  });

  test('and one whose channel says that it cannot be asked', async () => {
    const { clock, givenUp } = start(() => Promise.reject(new Error('closed')));
    await clock.advance(35_000);
    assert.equal(givenUp(), 1);
  });

  test('leaves one alone that answers, be it now and then', async () => {
    let question = 0;
    const { clock, asked, givenUp } = start(() => (++question % 6 === 0 ? Promise.resolve() : never()));
    for (let minute = 0; minute < 10; minute++) await clock.advance(60_000);
    assert.equal(givenUp(), 0);
    assert.equal(asked(), 120);
  });

  test('ends when it is told to', async () => {
    const { clock, asked, givenUp, end } = start(never);
    await clock.advance(20_000);
    end();
    await clock.advance(60_000);
    assert.deepEqual([asked(), givenUp()], [4, 0]);
  });
});
