import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { parseConfig } from '../../shared/config/load.js';
import { sidecarSchema } from '../../sidecar/config.js';
import { crossCheck } from '../../sidecar/cross-check.js';
import { smallProcess } from '../../sidecar/small-process.js';

const read = (file: string): string => readFileSync(new URL(`../../../deploy/interception/${file}`, import.meta.url), 'utf8');

interface Pod {
  readonly initContainers: readonly { readonly name: string; readonly env?: readonly { name: string; value: string }[]; readonly securityContext: { readonly runAsUser: number } }[];
}

const compose = parse(read('docker-compose.yml')) as { services: Record<string, { user?: string; environment?: Record<string, string> }> };
const [configMap, deployment] = parseAllDocuments(read('kubernetes.yaml')).map((document) => document.toJS() as { data: Record<string, string>; spec: { template: { spec: Pod } } });
const [intercept, sidecar] = deployment!.spec.template.spec.initContainers;

const variables = (env: readonly { name: string; value: string }[]): Record<string, string> => Object.fromEntries(env.map(({ name, value }) => [name, value]));

/** The configuration of a sidecar, what the rules are told, who it runs as, and what it is started with. */
const examples = [
  ['compose', read('sidecar.yaml'), compose.services['intercept']!.environment!, compose.services['orders-sidecar']!.user!.split(':')[0], compose.services['orders-sidecar']!.environment!],
  ['Kubernetes', configMap!.data['sidecar.yaml']!, variables(intercept!.env!), String(sidecar!.securityContext.runAsUser), variables(sidecar!.env!)],
] as const;

for (const [name, text, settings, user, environment] of examples) {
  describe(`the example for ${name}`, () => {
    const config = parseConfig(parse(text), sidecarSchema, crossCheck);

    test('leads to listeners that are there', () => {
      assert.deepEqual([config.outbound!.listen.port, config.inbound!.listen.port, config.admin.port], [15_001, 15_006, 15_000]);
      const opaque = settings['OPAQUE_PORTS']!.split(',').map((pair) => Number(pair.split(':')[1]));
      assert.deepEqual(opaque, config.tcp.map(({ listen }) => listen.port));
    });

    test('leaves the sidecar’s own connections alone', () => assert.equal(settings['PROXY_UID'], user));

    // The image sets the rest.
    test('starts the sidecar as a small process', () => assert.equal(environment['NODE_OPTIONS'], smallProcess.NODE_OPTIONS));

    // Redirected from outside, a connection arrives at the address of its interface, and from inside at loopback.
    test('listens where redirected connections arrive', () => {
      assert.equal(config.inbound!.listen.host, '0.0.0.0');
      for (const { listen } of [config.outbound!, ...config.tcp]) assert.equal(listen.host, '127.0.0.1');
    });
  });
}
