import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { FakeClock } from '../clock/fake-clock.js';
import { MtlsReport } from './mtls-report.js';

const refusal = { reason: 'expired', detail: 'CERT_HAS_EXPIRED', name: 'URI:spiffe://mesh.test/ns/default/sa/orders' } as const;

describe('the report of refusals', () => {
  test('counts each, writes a few of a kind and then one a second, and says how many it left out', async () => {
    const clock = new FakeClock();
    const registry = new Registry();
    const lines: Record<string, unknown>[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) });
    const report = new MtlsReport({ registry, logger, clock, expiresAt: () => 5_000 });
    for (let count = 0; count < 100; count++) report.refused('inbound', '10.0.0.1', refusal);
    assert.equal(lines.length, 10);
    // Another kind, or another listener, is not drowned in it.
    report.refused('inbound', '10.0.0.1', { ...refusal, reason: 'plaintext' });
    report.refused('db', '10.0.0.1', refusal);
    report.failed('inventory', '10.0.0.2:1', 'spiffe://mesh.test/ns/default/sa/inventory', { ...refusal, reason: 'wrong_name' });
    assert.equal(lines.length, 13);
    await clock.advance(1_000);
    report.refused('inbound', '10.0.0.1', refusal);
    report.refused('inbound', '10.0.0.1', refusal);
    assert.deepEqual(lines.slice(13).map(({ untold, client, shown, detail }) => [untold, client, shown, detail]), [[90, '10.0.0.1', refusal.name, refusal.detail]]);
    const text = await registry.metrics();
    assert.match(text, /^proxy_mtls_refused_total\{listener="inbound",reason="expired"\} 102$/m);
    assert.match(text, /^proxy_mtls_failed_total\{upstream="inventory",reason="wrong_name"\} 1$/m);
    assert.match(text, /^proxy_identity_expires_timestamp_seconds 5$/m);
  });
});
