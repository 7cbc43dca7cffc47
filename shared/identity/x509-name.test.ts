import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { uriName } from './x509-name.js';

const id = 'spiffe://mesh.test/ns/default/sa/orders';

describe('the name of a certificate', () => {
  for (const [what, subjectAltName] of [
    ['alone', `URI:${id}`],
    ['among names of hosts and addresses', `DNS:orders.test, URI:${id}, IP Address:127.0.0.1`],
    ['beside a name that is quoted', `DNS:"a, b", URI:${id}`],
  ] as const) {
    test(`is its URI, ${what}`, () => assert.equal(uriName({ subjectAltName }), id));
  }

  for (const [why, subjectAltName] of [
    ['there are no alternative names', undefined],
    ['there is no URI', 'DNS:orders.test'],
    ['there are two', `URI:${id}, URI:${id}`],
    ['it is within another name', `DNS:"a, URI:${id}, b"`],
    ['it is within another name, whose quotation marks are escaped', `DNS:"a\\", URI:${id}, \\"b"`],
    ['a quotation is not closed', `URI:${id}, DNS:"a`],
    ['something stands behind a quotation', `URI:${id}, DNS:"a"b`],
  ] as const) {
    test(`is none where ${why}`, () => assert.equal(uriName({ subjectAltName }), undefined));
  }

  test('is none where Node cannot say it', () => {
    const certificate = {
      get subjectAltName(): string {
        throw new Error('Failed to format subject alternative name');
      },
    };
    assert.equal(uriName(certificate), undefined);
  });
});
