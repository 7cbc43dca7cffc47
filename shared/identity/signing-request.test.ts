import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { describe, test } from 'node:test';
import { createSigningRequest } from './signing-request.js';

describe('a signing request', () => {
  test('is read by others, is signed by its key, and asks for the name', async () => {
    const name = 'spiffe://shop.test/ns/default/sa/orders';
    // Numbers in a signature and a key may begin with a bit that needs a byte in front of it.
    for (let round = 0; round < 50; round++) {
      const { csr, der, key } = await createSigningRequest(name);
      const read = new x509.Pkcs10CertificateRequest(csr);
      assert.ok(await read.verify());
      assert.deepEqual(Buffer.from(read.rawData), der);
      assert.equal(read.subject, '');
      assert.deepEqual(Buffer.from(read.publicKey.rawData), createPublicKey(key.export({ type: 'pkcs8', format: 'pem' }) as string).export({ type: 'spki', format: 'der' }));
      assert.deepEqual(Array.from(read.extensions, ({ rawData }) => new x509.SubjectAlternativeNameExtension(rawData).names.toJSON()), [[{ type: 'url', value: name }]]);
      assert.ok(csr.split('\n').every((line) => line.length <= 64), csr);
    }
  });

  test('asks for no name where none is wanted', async () => {
    const read = new x509.Pkcs10CertificateRequest((await createSigningRequest(undefined)).csr);
    assert.ok(await read.verify());
    assert.equal(read.extensions.length, 0);
  });
});
