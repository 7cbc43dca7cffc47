import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyListenSchema } from './sections.js';
import { tcpListenerSchema } from './tcp.js';

test('no listener reads the PROXY protocol on a Unix domain socket: its peers have no address to be listed by', () => {
  const proxyProtocol = { from: ['0.0.0.0/0', '::/0'] };
  const problemsOf = (listen: object): string[] =>
    [proxyListenSchema.safeParse(listen), tcpListenerSchema.safeParse({ listen, upstream: 'db' })].flatMap(({ error }) => error?.issues ?? []).map(({ path, message }) => `${path.join('.')}: ${message}`);
  const problem = 'cannot be combined with path: it is for peers of certain networks, and those of a Unix domain socket have no address';
  assert.deepEqual(problemsOf({ path: '/run/proxy', proxyProtocol }), [`proxyProtocol: ${problem}`, `listen.proxyProtocol: ${problem}`]);
  for (const listen of [{ port: 0, proxyProtocol }, { path: '/run/proxy' }]) assert.deepEqual(problemsOf(listen), []);
});
