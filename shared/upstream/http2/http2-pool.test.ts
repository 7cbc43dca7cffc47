import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, frameOrigin, goaway, type FrameOrigin } from '../../../tests/support/frame-origin.js';
import { frame, frameType, type FramePeer } from '../../../tests/support/http2-frames.js';
import { exchange, request } from '../../../tests/support/policy.js';
import { DeadlineSweep } from '../../clock/deadline-sweep.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { upstreamSchema } from '../../config/sections.js';
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
