import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { refusedPort, tcpOrigin } from '../support/origin.js';
import { echo, placements, starter } from '../support/placements.js';

/** Upstreams that get copies and are bad at it, and what is counted for each. */
const shadows: readonly (readonly [name: string, outcome: string, handle: (socket: Socket) => void])[] = [
  ['hangs', 'timed_out', (socket) => socket.resume()],
  ['stops within its answer', 'timed_out', (socket) => socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal'))],
  ['answers with 10 MB', 'answered', (socket) => socket.once('data', () => socket.write(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n'), Buffer.alloc(10_000_000)])))],
  ['resets the connection', 'failed', (socket) => socket.once('data', () => socket.resetAndDestroy())],
  ['answers nonsense', 'failed', (socket) => socket.once('data', () => socket.write('nonsense\r\n\r\n'))],
];

for (const [placement, definition] of Object.entries(placements)) {
  describe(`mirroring in the ${placement}`, () => {
    test('copies go to the other upstream, bodies included', async (context) => {
      const [origin, shadow] = [await echo(context, 'origin'), await echo(context, 'shadow')];
      const { send, counted } = await starter(context, definition)([{ upstream: 'inventory', mirror: { upstream: 'shadow', maxBodyBytes: '32KiB' }, rewrite: { prefix: '/v2' } }], { inventory: origin.port, shadow: shadow.port });
      const streamed = ['a'.repeat(10_000), 'b'.repeat(10_000)];
      assert.equal((await send({ path: '/a?b', method: 'POST', body: 'hello' })).body, 'origin /v2/a?b');
      assert.equal((await send({ path: '/c', method: 'POST', body: streamed })).body, 'origin /v2/c');
      assert.equal((await send({ path: '/d', method: 'POST', body: 'x'.repeat(40_000) })).body, 'origin /v2/d');
      assert.equal((await send({ path: '/e', method: 'POST', body: ['x'.repeat(20_000), 'y'.repeat(20_000)] })).body, 'origin /v2/e');
      await counted('proxy_mirrored_total{upstream="shadow",outcome="answered"}', 2);
      await counted('proxy_mirrored_total{upstream="shadow",outcome="too_large"}', 2);
      await counted('proxy_upstream_attempts_total{upstream="shadow"}', 2);
      await counted('proxy_upstream_attempts_total{upstream="inventory"}', 4);
      assert.deepEqual(shadow.seen.map(({ body }) => body), ['POST /v2/a?b hello', `POST /v2/c ${streamed.join('')}`]);
      assert.deepEqual(shadow.seen.map(({ headers }) => [headers.host, headers['x-shadow']]), [['inventory-shadow', 'true'], ['inventory-shadow', 'true']]);
      assert.deepEqual(origin.seen.map(({ body }) => body.length), ['POST /v2/a?b hello'.length, 20_011, 40_011, 40_011]);
      assert.deepEqual(origin.seen.map(({ headers }) => [headers.host, headers['x-shadow']]), Array(4).fill(['inventory', undefined]));
    });

    test('a shadow that fails, however it does, changes nothing for the original, and no connection to it is left', async (context) => {
      const origin = await echo(context, 'origin');
      const closed = new Map<string, Promise<unknown>[]>();
      const ports = new Map<string, number>();
      for (const [index, [name, , handle]] of shadows.entries()) {
        const sockets: Promise<unknown>[] = [];
        const shadow = await tcpOrigin((socket) => {
          sockets.push(new Promise((resolve) => socket.once('close', resolve)));
          handle(socket);
        });
        context.after(() => shadow.close());
        closed.set(name, sockets);
        ports.set(`shadow-${index}`, shadow.port);
      }
      ports.set('dead', await refusedPort());
      const { send, counted, metrics } = await starter(context, definition)(
        [...ports.keys()].map((upstream) => ({ match: { path: `/${upstream}` }, upstream: 'inventory', mirror: { upstream, timeout: '5s' } })),
        { inventory: origin.port, ...Object.fromEntries(ports) },
      );
      for (const upstream of ports.keys()) {
        for (let index = 0; index < 10; index++) {
          const { status, body } = await send({ method: 'POST', path: `/${upstream}/${index}`, body: index % 2 === 0 ? 'hello' : ['hel', 'lo'] });
          assert.deepEqual([status, body], [200, `origin /${upstream}/${index}`]);
        }
        // Nobody has waited for a copy: the first ones, which hang, are all still under way.
        if (upstream === 'shadow-0') assert.doesNotMatch(await metrics(), /^proxy_mirrored_total/m);
      }
      await counted('proxy_mirrored_total{upstream="dead",outcome="failed"}', 10);
      for (const [index, [name, outcome]] of shadows.entries()) {
        await counted(`proxy_mirrored_total{upstream="shadow-${index}",outcome="${outcome}"}`, 10);
        assert.equal((await Promise.all(closed.get(name)!)).length, 10, name);
      }
    });
  });
}
