import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestProcess } from '../../tests/support/process.js';

for (const workers of [1, 2]) {
  test(`a socket in a directory that is not there is named, and the directory, workers: ${workers}`, { skip: process.platform === 'win32' ? 'there are no such sockets' : false }, async () => {
    const path = '/nowhere/gateway.sock';
    const gateway = new TestProcess('gateway/main.js', { listen: { path }, admin: { port: 0 }, workers, routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: ['127.0.0.1:1'] } } });
    const { code, stderr } = await gateway.exited;
    assert.equal(code, 69);
    assert.match(stderr, /could not listen on \/nowhere\/gateway\.sock: there is no directory \/nowhere"/);
  });
}
