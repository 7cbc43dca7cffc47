import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkListeners } from './listener-check.js';

const paths = (document: object): string[] => checkListeners(document).map(({ path }) => path);
const upstreams = (...endpoints: readonly unknown[]): object => ({ upstreams: { a: { endpoints } } });

describe('listeners and what they lead to', () => {
  const cases: readonly (readonly [name: string, document: object, expected: readonly string[]])[] = [
    ['a free port may be taken by all', { listen: { port: 0 }, admin: { port: 0 }, tcp: [{ listen: { port: 0 }, upstream: 'a' }], ...upstreams('127.0.0.1:0') }, []],
    ['two addresses may have the same port', { listen: { host: '127.0.0.1', port: 80 }, admin: { host: '127.0.0.2', port: 80 } }, []],
    ['all addresses and one of them may not', { inbound: { listen: { host: '0.0.0.0', port: 80 } }, outbound: { listen: { host: '10.0.0.1', port: 80 } } }, ['outbound.listen']],
    ['one path is taken once', { listen: { path: '/run/a' }, tcp: [{ listen: { path: '/run//a' }, upstream: 'a' }], ...upstreams() }, ['tcp[0].listen']],
    ['an endpoint of the same port elsewhere is another', { listen: { host: '0.0.0.0', port: 80 }, ...upstreams('10.0.0.1:80', 'example.org:80') }, []],
    ['an endpoint on loopback is the proxy itself, by whatever name', { listen: { host: '0.0.0.0', port: 80 }, ...upstreams('localhost:80', '127.0.0.2:80', { address: '127.0.0.1:80' }, '127.0.0.1:81') }, ['upstreams.a.endpoints[0]', 'upstreams.a.endpoints[1]', 'upstreams.a.endpoints[2]']],
    ['so it is where nothing but its port is said of where it listens', { listen: { host: '::', port: 80 }, ...upstreams('[0:0::1]:80', '127.0.0.1:80', '0.0.0.0:80') }, ['upstreams.a.endpoints[0]', 'upstreams.a.endpoints[1]', 'upstreams.a.endpoints[2]']],
    ['another loopback address is another', { listen: { host: '127.0.0.2', port: 80 }, ...upstreams('127.0.0.1:80', '[::1]:80', 'localhost:80', '[::ffff:127.0.0.2]:80') }, ['upstreams.a.endpoints[3]']],
    ['localhost is the address that it stands for', { listen: { port: 80 }, admin: { host: 'localhost', port: 80 } }, ['listen']],
    ['so is the path that it listens at', { outbound: { listen: { path: '/run/a' } }, ...upstreams('unix:/run/a') }, ['upstreams.a.endpoints[0]']],
    ['what comes in does not go out: inbound may be an endpoint', { inbound: { listen: { port: 15_006 }, app: '127.0.0.1:3000' }, ...upstreams('127.0.0.1:15006') }, []],
    ['the application is not the proxy', { inbound: { listen: { port: 15_006 }, app: '127.0.0.1:15006' } }, ['inbound.app']],
    ['an upstream may come from the control plane', { tcp: [{ listen: { port: 1 }, upstream: 'a' }], controlPlane: {} }, []],
    ['otherwise it must be there', { tcp: [{ listen: { port: 1 }, upstream: 'a' }] }, ['tcp[0].upstream']],
    ['what is not a configuration at all is somebody else’s to refuse', { tcp: [7, { listen: 'x' }, { upstream: 7 }], upstreams: [], listen: 3 }, []],
  ];
  for (const [name, document, expected] of cases) test(name, () => assert.deepEqual(paths(document), expected));
});
