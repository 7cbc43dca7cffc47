import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';

const host = { host: '127.0.0.1', port: 0 };

for (const http2 of ['engine', 'fastify']) {
  for (const workers of [1, 2]) {
    describe(`a connection beyond the limit (http2: ${http2}, workers: ${workers})`, () => {
      // That of one client holds for each worker by itself.
      for (const limit of ['maxConnections', ...(workers === 1 ? ['maxConnectionsPerClient'] : [])]) {
        test(`of ${limit} is closed and counted before it has said anything`, async () => {
          const authority = await TestAuthority.create();
          const tls = await authority.issue('shop', { dns: ['shop.test'] });
          const gateway = new TestProcess('gateway/main.js', { listen: { ...host, http2, tls }, admin: host, workers, limits: { [limit]: 2 }, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: ['127.0.0.1:1'] } } });
          const ready = await gateway.logged('ready');
          const connect = (): Promise<RawClient> => RawClient.connect(portIn(ready, 'listen'));
          const held = [await connect(), await connect()];
          assert.equal(await (await connect()).untilClosed(), '');
          const warning = await gateway.logged('a limit of connections was reached: further ones are closed');
          assert.deepEqual([warning['listener'], warning['limit']], ['edge', limit]);
          const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
          assert.match(metrics, new RegExp(`^proxy_connections_refused_total\\{listener="edge",limit="${limit}"\\} 1$`, 'm'));
          assert.ok(held.every(({ isClosed }) => !isClosed));
          for (const client of held) client.close();
          await gateway.stop();
          authority.remove();
        });
      }
    });
  }
}
