import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Http1Error } from '../http1/http1-error.js';
import { readRequestFields } from './request-fields.js';

const limits = { maxHeaders: 10, maxHeadBytes: 1_000, maxTargetBytes: 100 };
const usual = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'shop'];
const read = (...raw: string[]) => readRequestFields(raw, limits);

/*
 * Node's library refuses most of these before they come here. What may become a request of HTTP/1.1 is checked again all the same, and
 * this is where that is shown.
 */
const refused: Readonly<Record<string, readonly string[]>> = {
  'an absolute :path': [':method', 'GET', ':scheme', 'http', ':path', 'http://evil/', ':authority', 'shop'],
  'an asterisk for GET': [':method', 'GET', ':scheme', 'http', ':path', '*', ':authority', 'shop'],
  'a line break in :path': [':method', 'GET', ':scheme', 'http', ':path', '/ HTTP/1.1\r\nx: y', ':authority', 'shop'],
  'no :path': [':method', 'GET', ':scheme', 'http', ':authority', 'shop'],
  ':path twice': [...usual, ':path', '/b'],
  'a pseudo-field behind a field': ['x', '1', ...usual],
  'an unknown pseudo-field': [...usual, ':protocol', 'websocket'],
  'a line break in a value': [...usual, 'x', 'a\r\nb: c'],
  'a NUL in a value': [...usual, 'x', 'a\0'],
  'a name that is none': [...usual, 'x y', '1'],
  'Transfer-Encoding': [...usual, 'transfer-encoding', 'chunked'],
  Connection: [...usual, 'connection', 'close'],
  'two lengths': [...usual, 'content-length', '1', 'content-length', '1'],
  'a length that is none': [...usual, 'content-length', '0x1'],
  'a line break in :authority': [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'shop\r\nx: y'],
  'a Host that differs': [...usual, 'host', 'evil'],
  'a method that is none': [':method', 'GET / HTTP/1.1\r\n', ':scheme', 'http', ':path', '/', ':authority', 'shop'],
};

describe('the field block of a request', () => {
  for (const [name, raw] of Object.entries(refused)) test(`is refused for ${name}`, () => assert.throws(() => read(...raw), Http1Error));

  test('becomes what a request of HTTP/1.1 would look like', () => {
    const { method, target, authority, headers, length } = read(':method', 'POST', ':scheme', 'https', ':path', '/a/%2e%2e/b?c', ':authority', 'Shop:443', 'cookie', 'a=1', 'x-one', '1', 'te', 'trailers', 'cookie', 'b=2', 'content-length', '0');
    assert.deepEqual([method, target.target, target.path, authority, length], ['POST', '/b?c', '/b', 'shop:443', 0]);
    assert.deepEqual([...headers], [['host', 'shop:443'], ['x-one', '1'], ['content-length', '0'], ['cookie', 'a=1; b=2'], ['te', 'trailers'], ['connection', 'TE']]);
  });
});
