import type { FastifyReply } from 'fastify';
import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { Proxy } from '../compile/compile.js';
import type { Publisher, Stream } from '../publish/publisher.js';
import { ApiError } from './problem.js';

const heartbeatMs = 10_000;
/** A reader that takes nothing for this long is cut off; it may come back. */
const stalledMs = 60_000;
/** A connection that is silent for so long is asked by TCP whether anybody is there. */
const keepAliveMs = 30_000;
const heartbeatText = ':\n\n';

/** What a stream's route may answer 400 for. */
export const pipelined = 'It was asked for behind a request that has no answer yet.';

/**
 * Refuses a stream that was asked for behind a request that has no answer yet: Node gives its answer no connection until that one's has ended, and never tells
 * it that the connection has closed. It would hold its place for ever.
 */
export function checkFirst({ raw }: FastifyReply): void {
  if (raw.socket === null) throw new ApiError(400, 'pipelined', 'A stream begins when the answers before it on its connection have ended: ask for it on a connection of its own.');
}

/**
 * Sends a proxy its snapshots as server-sent events (WHATWG HTML, section 9.2) until it leaves.
 *
 * A proxy that says in `Last-Event-ID` that it has the newest one is sent none. What a slow reader can hold is one snapshot, which it shares with all
 * that got the same: the rest stays with the publisher until it has drained, and heartbeats are left out meanwhile.
 */
export function streamTo(response: ServerResponse, proxy: Proxy, publisher: Publisher, clock: Clock): void {
  if (publisher.isFull) {
    response.writeHead(503, { 'retry-after': '5' }).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  response.flushHeaders();
  response.socket?.setNoDelay(true);
  response.socket?.setKeepAlive(true, keepAliveMs);
  let takenAt = clock.now();
  let heartbeat: Timer;
  const beat = (): void => {
    if (response.writableNeedDrain && clock.now() - takenAt > stalledMs) {
      response.destroy();
      return;
    }
    if (!response.writableNeedDrain) response.write(heartbeatText);
    heartbeat = clock.after(heartbeatMs, beat);
  };
  heartbeat = clock.after(heartbeatMs, beat);
  const stream: Stream = {
    send(event) {
      const isTaken = response.write(event);
      if (isTaken) takenAt = clock.now();
      return isTaken;
    },
    close: () => response.end(),
  };
  const has = response.req.headers['last-event-id'];
  const disconnect = publisher.connect(proxy, stream, typeof has === 'string' ? has : undefined);
  response.on('drain', () => {
    takenAt = clock.now();
    publisher.drained(proxy.node, stream);
  });
  response.on('error', () => {});
  response.on('close', () => {
    heartbeat.cancel();
    disconnect();
  });
}
