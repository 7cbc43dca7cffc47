import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { httpOrigin } from '../../tests/support/origin.js';

const script = fileURLToPath(new URL('../../../scenarios/clients/shop.sh', import.meta.url));

test('the sample client in shell fails when its login does', async (t) => {
  const asked: string[] = [];
  const origin = await httpOrigin((request, response) => {
    asked.push(request.url!);
    response.writeHead(request.url === '/login' ? 401 : 200).end();
  });
  t.after(() => origin.close());
  const child = spawn('sh', [script, `http://127.0.0.1:${origin.port}`], { stdio: 'ignore' });
  const [code] = (await once(child, 'exit')) as [number];
  if (code === 127) return t.skip('there is no curl');
  assert.notEqual(code, 0);
  assert.deepEqual(asked, ['/login']);
});
