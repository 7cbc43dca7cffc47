import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseProxyHeader } from '../listener/proxy-protocol.js';
import { proxyHeader } from './proxy-header.js';

const v2 = '0d0a0d0a000d0a515549540a';

describe('the header of the PROXY protocol', () => {
  const cases: readonly (readonly [name: string, version: 1 | 2, client: string, destination: string, expected: string, source: string | undefined])[] = [
    ['version 1, IPv4', 1, '192.0.2.7', '192.0.2.1', 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 5432\r\n', '192.0.2.7'],
    ['version 1, IPv6', 1, '2001:db8::7', '::1', 'PROXY TCP6 2001:db8::7 ::1 4711 5432\r\n', '2001:db8::7'],
    ['version 1, of two families', 1, '192.0.2.7', '::1', 'PROXY UNKNOWN\r\n', undefined],
    ['version 1, of a Unix socket', 1, '', '', 'PROXY UNKNOWN\r\n', undefined],
    ['version 2, IPv4', 2, '192.0.2.7', '192.0.2.1', `${v2}2111000cc0000207c000020112671538`, '192.0.2.7'],
    ['version 2, IPv6', 2, '2001:db8::7', '::1', `${v2}2121002420010db8000000000000000000000007${'0'.repeat(31)}112671538`, '2001:db8::7'],
    ['version 2, IPv6 whose end is dotted', 2, '64:ff9b::192.0.2.7', 'fe80::1%eth0', `${v2}212100240064ff9b0000000000000000c0000207fe80000000000000000000000000000112671538`, '64:ff9b::c000:207'],
    ['version 2, of a Unix socket', 2, '', '', `${v2}21000000`, undefined],
  ];
  for (const [name, version, client, destination, expected, source] of cases) {
    test(`${name} is what a reader expects`, () => {
      const bytes = proxyHeader(version, { address: client, port: 4711 }, { address: destination, port: 5432 });
      assert.equal(bytes.toString(version === 1 ? 'latin1' : 'hex'), expected);
      const read = parseProxyHeader(bytes);
      assert.deepEqual([read!.length, read!.source], [bytes.length, source]);
    });
  }
});
