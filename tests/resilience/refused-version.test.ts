import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gatewayDynamicSchema } from '../../gateway/config.js';
import { Plan } from '../../gateway/plan.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { DataPlane } from '../../shared/process/data-plane.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { OutboundPlan } from '../../sidecar/outbound/plan.js';
import { refusedPort } from '../support/origin.js';

const builders = {
  gateway: (config: object, { dependencies }: DataPlane, previous?: { retire(): void }) => Plan.build(gatewayDynamicSchema.parse(config), dependencies, previous as Plan | undefined),
  sidecar: (config: object, { dependencies }: DataPlane, previous?: { retire(): void }) => OutboundPlan.build(gatewayDynamicSchema.parse(config), dependencies, previous as OutboundPlan | undefined),
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
