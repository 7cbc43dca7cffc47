import assert from 'node:assert/strict';
import { Agent, request as httpRequest } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { httpOrigin, type Origin } from '../support/origin.js';
import { run, send } from './placed.js';

const listen = { host: '127.0.0.1', port: 0 };
const authorization = (methods: readonly string[], name = 'some'): object => ({ authorization: { rules: [{ name, action: 'allow', methods }] } });

describe('rules that are exchanged', () => {
  let app: Origin;
  before(async () => {
    app = await httpOrigin((_request, response) => response.end('stock'));
  });
  after(() => app.close());

  const placements = {
    gateway: { kind: 'gateway', listener: 'listen', scope: 'route /', config: (policy: object) => ({ admin: listen, listen, routes: [{ upstream: 'app', ...policy }], upstreams: { app: { endpoints: [`127.0.0.1:${app.port}`] } } }) },
    sidecar: { kind: 'sidecar', listener: 'inbound', scope: 'inbound', config: (policy: object) => ({ admin: listen, service: 'inventory', inbound: { listen, app: `127.0.0.1:${app.port}`, ...policy } }) },
  } as const;
  for (const [name, { kind, listener, scope, config }] of Object.entries(placements)) {
    test(`hold for every request from then on, on open connections too, and none fails: ${name}`, async (context) => {
      const { process, port, metrics } = await run(context, kind, listener, config(authorization(['GET'])));
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      context.after(() => agent.destroy());
      const get = (): Promise<number> =>
        new Promise((resolve, reject) => {
          httpRequest({ host: '127.0.0.1', port, agent }, (response) => response.resume().on('end', () => resolve(response.statusCode!))).on('error', reject).end();
        });

      let isOver = false;
      // What every request that begins now must get; undefined while rules are being exchanged.
      let expected: number | undefined = 200;
      let asserted = 0;
      const load = Array.from({ length: 8 }, async () => {
        while (!isOver) {
          const before = expected;
          const status = await get();
          assert.ok(status === 200 || status === 403, `got ${status}`);
          if (before === undefined || before !== expected) continue;
          assert.equal(status, before);
          asserted++;
        }
      });
      for (let version = 1; version <= 8; version++) {
        const seen = asserted;
        while (asserted < seen + 50) await new Promise((resolve) => setImmediate(resolve));
        expected = undefined;
        process.reload(config(authorization([version % 2 === 0 ? 'GET' : 'PUT'])));
        await process.logged('reloaded', version);
        expected = version % 2 === 0 ? 200 : 403;
      }
      const seen = asserted;
      while (asserted < seen + 50) await new Promise((resolve) => setImmediate(resolve));
      isOver = true;
      await Promise.all(load);

      // What was counted by a rule of the same name goes on; what belongs to a rule that is gone, goes.
      const counted = async (rule: string): Promise<number | undefined> => {
        const line = (await metrics()).split('\n').find((text) => text.startsWith(`proxy_authorization_total{scope="${scope}",decision="allowed",rule="${rule}"}`));
        return line === undefined ? undefined : Number(line.split(' ').at(-1));
      };
      const total = (await counted('some'))!;
      assert.ok(total >= 4 * 50, `counted ${total}`);
      process.reload(config(authorization(['GET'], 'other')));
      await process.logged('reloaded', 9);
      assert.equal((await send(port)).status, 200);
      assert.deepEqual([await counted('some'), await counted('other')], [undefined, 1]);
    });
  }

  test('that cannot be meant are not taken, and the old ones stay', async (context) => {
    const { kind, listener, config } = placements.gateway;
    const { process, port } = await run(context, kind, listener, config(authorization(['PUT'])));
    process.reload(config({ authorization: { default: 'allow', rules: [{ name: 'a', action: 'allow', methods: ['GET'] }] } }));
    while (!process.stderr.includes('an allow rule changes nothing')) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([(await send(port)).status, (await send(port, { method: 'PUT' })).status], [403, 200]);
  });
});
