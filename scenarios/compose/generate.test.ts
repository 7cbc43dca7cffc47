import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { interceptedSidecar, units } from '../lab/declaration.js';
import { composeFiles } from './generate.js';

interface ComposeService {
  readonly network_mode?: string;
  readonly ports?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly read_only?: boolean;
  readonly profiles?: readonly string[];
  readonly user?: string;
  readonly healthcheck?: object;
  readonly environment?: Readonly<Record<string, string>>;
}

const read = (file: string): string => readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8');

describe('the lab in compose', () => {
  for (const [file, text] of composeFiles()) {
    test(`${file} is what the declaration says`, () => assert.equal(read(file), text, 'run: npm run lab -- compose'));
  }

  const { services } = parse(read('docker-compose.yml')) as { services: Record<string, ComposeService> };

  test('has every unit of the declaration, the lab and the report, and nothing else', () => {
    assert.deepEqual(Object.keys(services).sort(), [...units.map(({ id }) => id), 'intercepted', 'intercepted-app', 'intercepted-rules', 'intercepted-sidecar', 'join-tokens', 'lab', 'report'].sort());
  });

  test('puts each sidecar into its application’s network namespace, and the application on loopback', () => {
    const sidecars = units.filter(({ role }) => role === 'sidecar');
    assert.equal(sidecars.length, 9);
    for (const { id, beside } of sidecars) {
      assert.equal(services[id]!.network_mode, `service:${beside!}`);
      assert.equal(services[beside!]!.environment!['HOST'], '127.0.0.1');
    }
  });

  test('gives each proxy a token of its own, which is good for its own service alone', () => {
    const config = (id: string): { service?: string; controlPlane: { node: string; tokenFile: string } } => parse(read(`scenarios/compose/config/${id}.yaml`)) as ReturnType<typeof config>;
    const { access } = parse(read('scenarios/compose/config/control-plane.yaml')) as { access: { tokens: { name: string; role: string; sha256: string; service?: string; gateway?: true; node?: string }[] } };
    const known = new Map(access.tokens.map((token) => [token.sha256, token]));
    const shown = (file: string): (typeof access.tokens)[number] => known.get(createHash('sha256').update(read(file.replace('/app/config/', 'scenarios/compose/config/')).trim()).digest('hex'))!;
    const proxies = [...units.filter(({ role }) => role === 'sidecar' || role === 'gateway'), interceptedSidecar];
    for (const { id, role } of proxies) {
      const { service, controlPlane } = config(id);
      const token = shown(controlPlane.tokenFile);
      assert.deepEqual([token.role, token.service, token.gateway, token.node], ['proxy', service, role === 'gateway' ? true : undefined, controlPlane.node], id);
    }
    assert.equal(shown(services['lab']!.environment!['CONTROL_PLANE_TOKEN_FILE']!).role, 'write');
    assert.equal(known.size, proxies.length + 1, 'each has another, and nobody else has one');
  });

  test('publishes ports on loopback only', () => {
    const published = Object.values(services).flatMap(({ ports = [] }) => ports);
    assert.deepEqual(published.sort(), ['127.0.0.1:8080:8080', '127.0.0.1:8088:8088']);
  });

  test('has one application that knows no proxy, in a profile, with an init container alone that may set rules', () => {
    for (const [name, { profiles, cap_add: added }] of Object.entries(services)) {
      assert.deepEqual([profiles, added], [/^intercepted/.test(name) ? ['interception'] : undefined, name === 'intercepted-rules' ? ['NET_ADMIN', 'NET_RAW'] : undefined], name);
    }
    assert.equal(services['intercepted-sidecar']!.user!.split(':')[0], services['intercepted-rules']!.environment!['PROXY_UID']);
    assert.equal(services['intercepted-app']!.environment!['HTTP_PROXY'], undefined);
  });

  test('gives no container a capability or a root file system to write to', () => {
    for (const [name, service] of Object.entries(services)) {
      assert.deepEqual([service.cap_drop, service.read_only], [['ALL'], true], name);
      // The one that sets rules is over when it is done, and the one that holds the namespace does nothing.
      if (!['lab', 'intercepted', 'intercepted-rules'].includes(name)) assert.ok(service.healthcheck !== undefined, `${name} has a health check`);
    }
  });
});
