import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { Proxy } from '../compile/compile.js';
import type { Publisher, Stream } from '../publish/publisher.js';

const heartbeatMs = 10_000;
/** A reader that takes nothing for this long is cut off; it may come back. */
const stalledMs = 60_000;

/** Sends a proxy its snapshots as server-sent events (WHATWG HTML, section 9.2) until it leaves. */
export function streamTo(response: ServerResponse, proxy: Proxy, publisher: Publisher, clock: Clock): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  response.socket?.setNoDelay(true);
  let lastDrained = clock.now();
  let heartbeat: Timer;
  const beat = (): void => {
    if (response.writableNeedDrain && clock.now() - lastDrained > stalledMs) {
      response.destroy();
      return;
    }
    if (!response.writableNeedDrain) response.write(':\n\n');
    heartbeat = clock.after(heartbeatMs, beat);
  };
  heartbeat = clock.after(heartbeatMs, beat);
  const stream: Stream = {
    send: (version, data) => {
      const taken = response.write(`event: snapshot\nid: ${version}\ndata: ${data}\n\n`);
      if (taken) lastDrained = clock.now();
      return taken;
    },
    close: () => response.end(),
  };
  const disconnect = publisher.connect(proxy, stream);
  response.on('drain', () => {
    lastDrained = clock.now();
    publisher.drained(proxy.node, stream);
  });
  response.on('error', () => {});
  response.on('close', () => {
    heartbeat.cancel();
    disconnect();
  });
}
