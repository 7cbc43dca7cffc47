import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gatewayDynamicSchema } from '../../gateway/config.js';
import { Plan } from '../../gateway/plan.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { DataPlane } from '../../shared/process/data-plane.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { OutboundPlan } from '../../sidecar/outbound/plan.js';
import { refusedPort } from '../support/origin.js';

type AnyPlan = Pick<Plan, 'upstreams'> & { takeOver(): void; retire(successor?: AnyPlan): void };
type Build = (config: object, dataPlane: DataPlane, previous?: AnyPlan) => Promise<AnyPlan>;

const builders: Readonly<Record<string, Build>> = {
  gateway: (config, { dependencies }, previous) => Plan.build(gatewayDynamicSchema.parse(config), dependencies, previous as Plan | undefined),
  sidecar: (config, { dependencies }, previous) => OutboundPlan.build(gatewayDynamicSchema.parse(config), dependencies, previous as OutboundPlan | undefined),
};

for (const [name, build] of Object.entries(builders)) {
  describe(`a version that the ${name} cannot build`, () => {
    const shop = (...ports: number[]) => ({ endpoints: ports.map((port) => `127.0.0.1:${port}`), healthCheck: {}, breaker: {} });
    const pay = { endpoints: ['127.0.0.1:1'], tls: { ca: '/nowhere/ca.pem' } };

    test('leaves no health check and no metric behind', async () => {
      const clock = new FakeClock();
      const dataPlane = new DataPlane(clock, silentLogger, { accessLog: false });
      const idle = clock.pending;
      await assert.rejects(build({ upstreams: { shop: shop(await refusedPort()), pay } }, dataPlane), /ca\.pem/);
      assert.equal(clock.pending, idle);
      assert.doesNotMatch(await dataPlane.metrics.registry.metrics(), /upstream="shop"/);
      dataPlane.close();
    });

    test('leaves the one in force with the endpoints that it had, and no others', async () => {
      const clock = new FakeClock();
      const dataPlane = new DataPlane(clock, silentLogger, { accessLog: false });
      const idle = clock.pending;
      const [own, other] = [await refusedPort(), await refusedPort()];
      const inForce = await build({ upstreams: { shop: shop(own) } }, dataPlane);
      const busy = clock.pending;
      await assert.rejects(build({ upstreams: { shop: shop(own, other), pay } }, dataPlane, inForce), /ca\.pem/);
      assert.equal(clock.pending, busy);
      assert.match(await dataPlane.metrics.registry.metrics(), /^proxy_upstream_panic\{upstream="shop"\} 0$/m);
      inForce.retire();
      assert.equal(clock.pending, idle);
      dataPlane.close();
    });
  });
}

for (const [name, build] of Object.entries(builders)) {
  test(`a version that the ${name} has built and discards takes nothing away from the one in force: what discovery finds goes there`, async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'refused-version-'));
    context.after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'endpoints.yaml');
    writeFileSync(file, '- 127.0.0.1:9001\n');
    const clock = new FakeClock();
    const dataPlane = new DataPlane(clock, silentLogger, { accessLog: false });
    const idle = clock.pending;
    const shop = { discovery: { file } };
    const inForce = await build({ upstreams: { shop } }, dataPlane);
    inForce.takeOver();
    const untilFound = async (address: string): Promise<void> => {
      while (!inForce.upstreams.get('shop')!.endpoints.some((endpoint) => endpoint.name === address)) await clock.advance(20);
    };
    await untilFound('127.0.0.1:9001');
    const discarded = await build({ upstreams: { shop, pay: { endpoints: ['127.0.0.1:1'] } } }, dataPlane, inForce);
    discarded.retire(inForce);
    writeFileSync(file, '- 127.0.0.1:9002\n');
    await untilFound('127.0.0.1:9002');
    inForce.retire();
    dataPlane.close();
    await clock.advance(60_000);
    assert.equal(clock.pending, idle);
  });
}
