import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { describe, test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { workloadName } from './workload-name.js';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const id = 'spiffe://shop.internal/ns/default/sa/orders';

async function certificate(names: x509.JsonGeneralNames): Promise<Buffer> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await x509.X509CertificateGenerator.createSelfSigned({ serialNumber: '01', name: 'CN=x', keys, signingAlgorithm: algorithm, extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)] });
  return Buffer.from(made.toString('pem'));
}

describe('the name in a certificate', () => {
  for (const [what, names, expected] of [
    ['one SPIFFE name', [{ type: 'url', value: id }], id],
    ['one beside a host', [{ type: 'dns', value: 'orders' }, { type: 'url', value: id }], id],
    ['two of them', [{ type: 'url', value: id }, { type: 'url', value: `${id}-2` }], undefined],
    ['another address', [{ type: 'url', value: 'https://orders' }], undefined],
    ['a host that looks like one', [{ type: 'dns', value: `x, URI:${id}` }], undefined],
    ['none', [], undefined],
  ] as const) {
    test(`is read from one with ${what}`, async () => assert.equal(workloadName(await certificate([...names])), expected));
  }

  test('is not read from what is no certificate', () => assert.equal(workloadName(Buffer.from('-----BEGIN CERTIFICATE-----\nx')), undefined));
});
