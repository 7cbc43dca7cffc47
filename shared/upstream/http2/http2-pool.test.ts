import assert from 'node:assert/strict';
import { connect, type ClientHttp2Session } from 'node:http2';
import { test } from 'node:test';
import { allowing, answer, frameOrigin, goaway, type FrameOrigin } from '../../../tests/support/frame-origin.js';
import { flag, frame, frameType, type FramePeer } from '../../../tests/support/http2-frames.js';
import { exchange, request } from '../../../tests/support/policy.js';
import { DeadlineSweep } from '../../clock/deadline-sweep.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { upstreamSchema } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { Http2Pool } from './http2-pool.js';

interface Run {
  readonly clock: FakeClock;
  readonly pool: Http2Pool;
  /** Sends a request; resolves with its status, or with the code of the error. */
  readonly ask: () => Promise<number | string>;
}

/** A pool whose clock the test turns; the connections are real. */
async function play(origin: FrameOrigin, changes: object, test: (run: Run) => Promise<void>): Promise<void> {
  const clock = new FakeClock();
  const sweep = new DeadlineSweep(clock, [200]);
  const pool = new Http2Pool(origin.address, upstreamSchema.parse({ protocol: 'h2', ...changes }), { clock, sweep });
  const ask = async (): Promise<number | string> => {
    const one = exchange();
    const outcome = await pool.send(request(one), one).then(
      ({ status, body }) => {
        body.resume();
        return status;
      },
      (error: unknown) => (error as { code: string }).code,
    );
    return outcome;
  };
  try {
    await test({ clock, pool, ask });
  } finally {
    pool.destroy();
    sweep.close();
    await origin.close();
  }
}

/** What is waited for is I/O of this process. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

/** A socket of ours that only waits for the endpoint takes whatever it sends; one that is gone does not. */
async function untilGone(peer: FramePeer): Promise<void> {
  while (!peer.isClosed) {
    peer.send(frame(frameType.ping, 0, 0, Buffer.alloc(8)));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a session whose endpoint goes away and never closes does not count, makes room for another, and is closed a moment later', async () => {
  const origin = await frameOrigin((peer, stream) => peer.send(answer(stream), goaway(stream)), undefined, { allowHalfOpen: true });
  await play(origin, { maxConnections: 1 }, async ({ clock, pool, ask }) => {
    for (let count = 1; count <= 3; count++) {
      assert.equal(await ask(), 200);
      await until(() => pool.connections === 0);
      assert.deepEqual([pool.size, pool.active, origin.peers.length], [0, 0, count]);
    }
    await clock.advance(1_500);
    await Promise.all(origin.peers.map(untilGone));
  });
});

test('a session that was idle for too long is closed whether the endpoint closes or not', async () => {
  const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)), undefined, { allowHalfOpen: true });
  await play(origin, { idleTimeout: 60_000 }, async ({ clock, pool, ask }) => {
    assert.equal(await ask(), 200);
    await until(() => pool.active === 0);
    await clock.advance(60_500);
    assert.equal(pool.connections, 0);
    await origin.peers[0]!.until(({ type }) => type === frameType.goaway);
    await clock.advance(1_500);
    await untilGone(origin.peers[0]!);
  });
});

test('a session that leaves counts until its last stream is over', async () => {
  let finish: (() => void) | undefined;
  const origin = await frameOrigin((peer, stream) => {
    peer.send(goaway(stream));
    finish = () => peer.send(answer(stream));
  }, undefined, { allowHalfOpen: true });
  await play(origin, { maxConnections: 1 }, async ({ clock, pool, ask }) => {
    const first = ask();
    await until(() => finish !== undefined && !pool.isInUse);
    await clock.advance(5_000);
    assert.deepEqual([pool.connections, pool.active], [1, 1]);
    finish!();
    assert.equal(await first, 200);
    await until(() => pool.connections === 0);
  });
});

/** Turns the clock on by 3 s in small steps, waiting each time until no connection is being made beyond `settled`. */
async function threeSeconds({ clock, pool }: Run, settled: number): Promise<void> {
  for (let step = 0; step < 150; step++) {
    await clock.advance(20);
    await until(() => pool.connections <= settled);
  }
}

test('while a session is full and no other can be made, they are tried at growing distances, and who waits gets the first place that is free', async () => {
  let finish: (() => void) | undefined;
  const origin = await frameOrigin(
    (peer, stream) => {
      const before = finish;
      finish = () => peer.send(answer(stream));
      if (before !== undefined) finish();
    },
    (connection) => (connection === 1 ? [allowing(1)] : undefined),
  );
  await play(origin, {}, async (run) => {
    const first = run.ask();
    await until(() => finish !== undefined);
    const second = run.ask();
    await until(() => origin.peers.length === 2 && run.pool.connections === 1);
    await run.clock.advance(20);
    assert.equal(run.pool.connections, 1, 'not at once');
    await threeSeconds(run, 1);
    assert.ok(origin.peers.length >= 6 && origin.peers.length <= 9, `${origin.peers.length} connections`);
    finish!();
    assert.deepEqual(await Promise.all([first, second]), [200, 200]);
  });
});

for (const [name, ends] of [['and closes', true], ['and stays', false]] as const) {
  test(`an endpoint that allows no stream ${name} is asked again at growing distances, and keeps one connection`, async () => {
    const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)), [allowing(0)]);
    await play(origin, {}, async (run) => {
      const outcome = run.ask();
      await until(() => origin.peers.length === 1 && run.pool.size === 1);
      for (let step = 0; step < 150; step++) {
        if (ends) for (const peer of origin.peers) peer.close();
        await run.clock.advance(20);
        await until(() => run.pool.connections === run.pool.size);
        assert.ok(run.pool.size <= 1);
      }
      assert.ok(origin.peers.length >= 6 && origin.peers.length <= 9, `${origin.peers.length} connections`);
      if (ends) {
        run.pool.destroy();
        assert.equal(await outcome, 'upstream_reset');
        return;
      }
      origin.peers.at(-1)!.send(allowing(1));
      assert.equal(await outcome, 200);
    });
  });
}

/** Node's own; what it is made of is not told. */
type Numbered = Record<symbol, { setNextStreamID(id: number): void }>;

test('once a connection has given the last number to a stream, requests go out on another', async (context) => {
  const numbers: number[] = [];
  const origin = await frameOrigin((peer, stream) => {
    numbers.push(stream);
    peer.send(answer(stream));
  });
  await play(origin, {}, async ({ pool, ask }) => {
    const other = connect(`http://${pool.authority}`);
    const sent = context.mock.method(Object.getPrototypeOf(other) as ClientHttp2Session, 'request');
    other.destroy();
    assert.equal(await ask(), 200);
    const client = sent.mock.calls[0]!.this as Numbered;
    const handle = Object.getOwnPropertySymbols(client).find(({ description }) => description === 'kHandle')!;
    client[handle]!.setNextStreamID(2 ** 31 - 3);
    assert.deepEqual(await Promise.all([ask(), ask(), ask(), ask()]), [200, 200, 200, 200]);
    assert.deepEqual(numbers, [1, 2 ** 31 - 3, 2 ** 31 - 1, 1, 3]);
    // Many endpoints refuse what comes behind it.
    assert.ok(!origin.peers[0]!.frames.some(({ type }) => type === frameType.goaway));
    await until(() => pool.connections === 1);
  });
});

test('requests beyond what one connection carries get as many connections as that takes, at once', async () => {
  const origin = await frameOrigin(() => {}, [allowing(1)]);
  await play(origin, {}, async ({ pool, ask }) => {
    const all = [ask()];
    await until(() => pool.active === 1);
    all.push(ask(), ask(), ask());
    assert.equal(pool.connections, 4);
    await until(() => pool.active === 4);
    pool.destroy();
    await Promise.all(all);
  });
});

test('what waits fails with a connection that cannot be made when nothing else would carry it', async () => {
  let finish: (() => void) | undefined;
  const origin = await frameOrigin(
    (peer, stream) => {
      peer.send(goaway(stream));
      finish = () => peer.send(answer(stream));
    },
    (connection) => (connection === 1 ? undefined : connection === 2 ? [allowing(1)] : undefined),
  );
  await play(origin, {}, async ({ pool, ask }) => {
    assert.equal(await ask(), 'upstream_connect_failed');
    const first = ask();
    await until(() => finish !== undefined && !pool.isInUse);
    assert.equal(await ask(), 'upstream_connect_failed');
    finish!();
    assert.equal(await first, 200);
  });
});

/** Sends a request, which its client gives up once the endpoint has got it. */
async function giveUpOne({ pool }: Run, peers: readonly FramePeer[]): Promise<void> {
  const requests = (): number => peers.reduce((sum, { frames }) => sum + frames.filter(({ type }) => type === frameType.headers).length, 0);
  const before = requests();
  const { active } = pool;
  const one = exchange();
  const outcome = pool.send(request(one), one);
  await until(() => requests() > before);
  one.cancellation.cancel(new ProxyError('client_closed'));
  await assert.rejects(outcome, { code: 'client_closed' });
  await until(() => pool.active === active);
}

const pings = (peer: FramePeer): Buffer[] => peer.frames.filter(({ type }) => type === frameType.ping).map(({ payload }) => payload);

/** Answers question number `count` of a connection, and waits until that is known. */
async function answerPing({ pool }: Run, peer: FramePeer, count: number): Promise<void> {
  await until(() => pings(peer).length === count);
  peer.send(frame(frameType.ping, flag.ack, 0, pings(peer)[count - 1]));
  await until(() => pool.hasIdle);
}

test('a connection that dies after it has answered a question is left with the next request that is given up on it', async () => {
  const origin = await frameOrigin((peer, stream, connection) => connection === 2 && peer.send(answer(stream)));
  await play(origin, {}, async (run) => {
    await giveUpOne(run, origin.peers);
    await answerPing(run, origin.peers[0]!, 1);
    await run.clock.advance(1_000);
    await giveUpOne(run, origin.peers);
    assert.equal(await run.ask(), 200);
    assert.deepEqual([origin.peers.length, pings(origin.peers[0]!).length], [2, 2]);
  });
});

test('where no other connection may be made, one is asked again for what was sent after its answer, and ends without one', async () => {
  const origin = await frameOrigin((peer, stream, connection) => connection === 2 && peer.send(answer(stream)));
  await play(origin, { maxConnections: 1 }, async (run) => {
    await giveUpOne(run, origin.peers);
    await answerPing(run, origin.peers[0]!, 1);
    await run.clock.advance(1_000);
    await giveUpOne(run, origin.peers);
    await until(() => pings(origin.peers[0]!).length === 2);
    const next = run.ask();
    await run.clock.advance(5_500);
    assert.equal(await next, 200);
  });
});

test('many requests that are given up lead to one question a second', async () => {
  const origin = await frameOrigin((peer, stream) => stream % 4 === 1 && peer.send(answer(stream)));
  await play(origin, {}, async (run) => {
    for (let count = 1; count <= 3; count++) {
      for (let index = 0; index < 10; index++) {
        assert.equal(await run.ask(), 200);
        await giveUpOne(run, origin.peers);
        if (index === 0) await answerPing(run, origin.peers[0]!, count);
      }
      await run.clock.advance(1_000);
    }
    assert.deepEqual([origin.peers.length, pings(origin.peers[0]!).length], [1, 3]);
  });
});

test('a request of which nothing was sent is no reason to ask', async () => {
  const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)));
  await play(origin, {}, async ({ pool, ask }) => {
    assert.equal(await ask(), 200);
    const one = exchange();
    one.cancellation.cancel(new ProxyError('deadline_exceeded'));
    await assert.rejects(pool.send(request(one), one), { code: 'deadline_exceeded' });
    assert.equal(await ask(), 200);
    assert.deepEqual(pings(origin.peers[0]!), []);
  });
});

test('a session that has taken back many requests takes no more before its endpoint counts too many, and what is in flight on it finishes', async () => {
  let finish: (() => void) | undefined;
  const origin = await frameOrigin((peer, stream, connection) => {
    if (connection === 1 && stream === 1) finish = () => peer.send(answer(stream));
  });
  await play(origin, {}, async (run) => {
    const slow = run.ask();
    await until(() => finish !== undefined);
    await giveUpOne(run, origin.peers);
    await answerPing(run, origin.peers[0]!, 1);
    for (let count = 1; count < 250; count++) await giveUpOne(run, origin.peers);
    assert.deepEqual([origin.peers.length, run.pool.isInUse], [1, true]);
    await giveUpOne(run, origin.peers);
    assert.deepEqual([origin.peers.length, run.pool.isInUse], [1, false]);
    await giveUpOne(run, origin.peers);
    finish!();
    assert.deepEqual([await slow, origin.peers.length], [200, 2]);
  });
});
