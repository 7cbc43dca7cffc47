import assert from 'node:assert/strict';
import { test } from 'node:test';
import { portIn, TestProcess } from '../../tests/support/process.js';

const listen = { host: '127.0.0.1', port: 0 };

test('/config shows what is in force after a reload, not what takes a restart', async () => {
  const config = (path: string, drainTimeout: string, more: object = {}): object => ({ listen, admin: listen, workers: 2, drainTimeout, routes: [{ match: { path }, upstream: 'nobody' }], upstreams: { nobody: { endpoints: ['127.0.0.1:1'] } }, ...more });
  const gateway = new TestProcess('gateway/main.js', config('/before', '2s'));
  const url = `http://127.0.0.1:${portIn(await gateway.logged('ready'), 'admin')}/config`;
  gateway.reload(config('/after', '7s', { logLevel: 'warn', drainDelay: '7s', admin: { ...listen, port: 1 } }));
  await gateway.logged('reloaded');
  const shown = (await (await fetch(url)).json()) as Record<string, unknown> & { readonly routes: readonly { readonly match: object }[] };
  assert.match(JSON.stringify(shown.routes), /"\/after"/);
  assert.deepEqual([shown['drainTimeout'], shown['drainDelay'], shown['logLevel'], shown['admin']], [2_000, 0, 'info', listen]);
  assert.equal((await gateway.stop()).code, 0);
});
