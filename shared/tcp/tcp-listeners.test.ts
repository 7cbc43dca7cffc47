import assert from 'node:assert/strict';
import { test } from 'node:test';
import { upstreamsSchema } from '../config/sections.js';
import { tcpListenerSchema } from '../config/tcp.js';
import { isForApplication, withStreamUpstreams } from './tcp-listeners.js';

test('a snapshot replaces the upstreams of the file, but for those of TCP listeners that it does not have', () => {
  const file = { tcp: [tcpListenerSchema.parse({ listen: { port: 0 }, upstream: 'db' })], upstreams: upstreamsSchema.parse({ db: { endpoints: ['127.0.0.1:1'] }, orders: { endpoints: ['127.0.0.1:2'] } }) };
  const snapshot = upstreamsSchema.parse({ users: { endpoints: ['127.0.0.1:3'] } });
  assert.deepEqual(Object.keys(withStreamUpstreams(snapshot, file)).sort(), ['db', 'users']);
  const other = upstreamsSchema.parse({ db: { endpoints: ['127.0.0.1:4'] } });
  assert.equal(withStreamUpstreams(other, file)['db'], other['db']);
});

test('who listens where nobody else can reach serves the application', () => {
  const cases: readonly (readonly [listen: object, expected: boolean])[] = [
    [{ port: 1 }, true],
    [{ host: '127.0.0.9', port: 1 }, true],
    [{ host: '::1', port: 1 }, true],
    [{ path: '/run/db' }, true],
    [{ host: '0.0.0.0', port: 1 }, false],
    [{ host: '10.0.0.1', port: 1 }, false],
  ];
  for (const [listen, expected] of cases) assert.equal(isForApplication(tcpListenerSchema.parse({ listen, upstream: 'db' })), expected, JSON.stringify(listen));
});
