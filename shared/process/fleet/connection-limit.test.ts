import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpOrigin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

for (const workers of [1, 2]) {
  test(`a connection beyond the limit is closed and counted, and costs nothing (${workers === 1 ? 'one process' : 'two workers'})`, async () => {
    const origin = await httpOrigin((_incoming, response) => response.end('hello'));
    const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, workers, limits: { maxConnections: 2 }, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } });
    const ready = await gateway.logged('ready');
    const port = portIn(ready, 'listen');
    const held = [await RawClient.connect(port), await RawClient.connect(port)];
    for (const client of held) await client.send(get).until((text) => text.endsWith('hello'));
    assert.equal(await (await RawClient.connect(port)).untilClosed(), '');
    const warning = await gateway.logged('a limit of connections was reached: further ones are closed');
    assert.deepEqual([warning['listener'], warning['limit']], ['edge', 'maxConnections']);
    const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    assert.match(metrics, /^proxy_connections_refused_total\{listener="edge",limit="maxConnections"\} 1$/m);
    for (const client of held) client.close();
    await gateway.stop();
    await origin.close();
  });
}
