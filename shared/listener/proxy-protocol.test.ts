import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { DataPlane } from '../process/data-plane.js';
import { silentLogger, type Logger } from '../telemetry/logger.js';
import { httpOrigin } from '../../tests/support/origin.js';
import { portIn, TestProcess } from '../../tests/support/process.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { readProxyHeader } from './proxy-protocol.js';

const told = 'a peer of proxyProtocol does not begin with a header of it: its connections are closed';

test('what goes wrong behind a header is not taken for a wrong header', () => {
  const socket = new Socket();
  const bad: string[] = [];
  readProxyHeader(socket, '192.0.2.1', (reason) => bad.push(reason), () => {
    throw new Error('a defect');
  });
  assert.throws(() => socket.emit('data', Buffer.from('PROXY UNKNOWN\r\n')), /a defect/);
  assert.deepEqual([socket.destroyed, bad], [false, []]);
});

describe('a peer that should begin with the PROXY protocol, and does not', () => {
  test('is told in the log with what it sent, and counted, by every listener that has it', async (context) => {
    const origin = await httpOrigin((_request, response) => response.end());
    const listen = { host: '127.0.0.1', port: 0, proxyProtocol: { from: ['127.0.0.1'] } };
    const gateway = new TestProcess('gateway/main.js', {
      listen, admin: { host: '127.0.0.1', port: 0 }, routes: [{ upstream: 'origin' }], tcp: [{ name: 'db', listen, upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } },
    });
    context.after(async () => {
      await gateway.stop();
      await origin.close();
    });
    const ready = await gateway.logged('ready');
    const heard: unknown[] = [];
    for (const [index, [address, listener]] of ([['listen', 'edge'], ['db', 'db']] as const).entries()) {
      for (let count = 0; count < 3; count++) await (await RawClient.connect(portIn(ready, address))).send('GET / HTTP/1.1\r\n\r\n').untilClosed();
      const line = await gateway.logged(told, index + 1);
      heard.push([line['listener'], line['peer'], line['reason']]);
      const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
      assert.match(metrics, new RegExp(`^proxy_protocol_refused_total\\{listener="${listener}"\\} 3$`, 'm'));
    }
    assert.deepEqual(heard, [['edge', '127.0.0.1', 'no PROXY protocol header'], ['db', '127.0.0.1', 'no PROXY protocol header']]);
    assert.equal(gateway.stderr.split(told).length - 1, 2);
  });

  test('is worth one line a minute', async () => {
    const clock = new FakeClock();
    const lines: string[] = [];
    const logger: Logger = Object.assign(Object.create(silentLogger) as Logger, { warn: (_about: object, message: string) => lines.push(message) });
    const dataPlane = new DataPlane(clock, logger, { accessLog: false });
    const report = dataPlane.badHeaderReport('edge');
    for (let second = 0; second < 120; second++) {
      report('no PROXY protocol header', '192.0.2.1');
      await clock.advance(1_000);
    }
    assert.deepEqual(lines, [told, told]);
    assert.match(await dataPlane.metrics.registry.metrics(), /^proxy_protocol_refused_total\{listener="edge"\} 120$/m);
    dataPlane.close();
  });
});
