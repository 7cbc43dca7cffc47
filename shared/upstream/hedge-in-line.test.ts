import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { bulkheadSchema } from '../config/health.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import type { Layer } from '../http/service.js';
import { Bulkhead, type BulkheadLimit } from './bulkhead.js';

const asHedges: Layer = (next) => (request, exchange) => next({ ...request, isHedge: request.path === '/hedge' }, exchange);

const places: readonly (readonly [name: string, upstream: object, limits: object | undefined, refusal: string])[] = [
  ['the one connection of its endpoint', { maxConnections: 1 }, undefined, 'upstream_queue_full'],
  ['the one connection of its upstream', {}, { maxConnections: 1 }, 'upstream_overloaded'],
  ['the one connection of its endpoint, whose upstream has limits', { maxConnections: 1 }, { maxConnections: 9 }, 'upstream_overloaded'],
  ['the one stream of its endpoint', { protocol: 'h2', maxConnections: 1, http2: { maxConcurrentStreams: 1 } }, undefined, 'upstream_queue_full'],
  ['the one stream of its upstream', { protocol: 'h2', http2: { maxConcurrentStreams: 1 } }, { maxConnections: 1 }, 'upstream_overloaded'],
];

describe('a hedge stands in no line', () => {
  for (const [name, settings, limits, refusal] of places) {
    test(`it is turned away while another request has ${name}, and sent when nobody has`, async () => {
      const held: { end(text: string): unknown }[] = [];
      const hold = (_request: unknown, response: { end(text: string): unknown }): unknown => held.push(response);
      const upstream: Partial<UpstreamConfig> = upstreamSchema.parse(settings);
      delete upstream.endpoints;
      const server = upstream.protocol === 'h2' ? createHttp2Server(hold) : createServer(hold);
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream, layer: asHedges });
      const refusals: BulkheadLimit[] = [];
      const [endpoint] = engine.upstream.endpoints;
      if (limits !== undefined) endpoint!.service = new Bulkhead('test', bulkheadSchema.parse(limits), (limit) => refusals.push(limit)).guard(endpoint!.pool).layer(endpoint!.connect);
      const ask = (path: string): Promise<string> => fetch(`http://127.0.0.1:${engine.port}${path}`).then(async (response) => `${response.status} ${await response.text()}`);
      const untilHeld = async (): Promise<void> => {
        while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
      };

      const first = ask('/');
      await untilHeld();
      assert.equal(await ask('/hedge'), `503 ${refusal}`);
      assert.deepEqual(refusals, [], 'that is no request beyond a limit');
      const waiting = ask('/');
      while (endpoint!.pool.queued === 0 && limits === undefined) await new Promise((resolve) => setImmediate(resolve));
      for (const answer of [first, waiting]) {
        await untilHeld();
        held.shift()!.end('ok');
        assert.equal(await answer, '200 ok');
      }
      const hedge = ask('/hedge');
      await untilHeld();
      held.shift()!.end('ok');
      assert.equal(await hedge, '200 ok');
      await engine.close();
      server.close();
    });
  }
});
