import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elementsFromLast } from './forwarded-field.js';

const readings: readonly (readonly [name: string, lines: readonly string[], elements: readonly Readonly<Record<string, string>>[]])[] = [
  ['the last element first', ['for=a, for=b;proto=https'], [{ for: 'b', proto: 'https' }, { for: 'a' }]],
  ['the last line first', ['for=a', 'for=b,for=c'], [{ for: 'c' }, { for: 'b' }, { for: 'a' }]],
  ['names in lower case, blanks, empty elements and parameters', [' , For=a ; ;PROTO=HTTPS\t;, ,'], [{ for: 'a', proto: 'HTTPS' }]],
  ['quotes with what is escaped in them', [String.raw`for="[::1]:80";host="a,\"b\\";by="\\\\"`], [{ for: '[::1]:80', host: String.raw`a,"b\ `.trim(), by: '\\\\' }]],
  ['brackets without quotes', ['for=[::1]:80'], [{ for: '[::1]:80' }]],
  ['a quote left open on the line before', ['for=a, for="', 'for="b"'], [{ for: 'b' }]],
  ['a quote left open on the same line', ['for=a, for=", for="b";proto=http'], [{ for: 'b', proto: 'http' }]],
  ['an escape left open on the same line', [String.raw`for=a, for="\, for="b"`], [{ for: 'b' }]],
  ['a quote that is opened on one line and closed on the next', ['for=a, for="', 'b", for=c'], [{ for: 'c' }]],
  ['a closing quote that is escaped', [String.raw`for=a, for="b\"`], []],
  ['a parameter twice', ['for=a, for=b;For=c'], []],
  ['text behind a value', ['for=a, for="b"c, for=d'], [{ for: 'd' }]],
  ['no value', ['for=a, for=', 'for=b'], [{ for: 'b' }]],
  ['no name', ['for=a, =b', 'for=c'], [{ for: 'c' }]],
  ['no parameter', ['for=a, b, for=c'], [{ for: 'c' }]],
  ['no token as name', ['for=a, f(r=b, for=c'], [{ for: 'c' }]],
  ['nothing', ['', ' '], []],
];
for (const [name, lines, elements] of readings) {
  test(`Forwarded is read from its end: ${name}`, () => {
    assert.deepEqual(Array.from(elementsFromLast(lines), (element) => Object.fromEntries(element)), elements);
  });
}

test('however a line begins, what was appended to it is read the same', () => {
  const appended = String.raw`for="203.0.113.9:4711";host="a\\\"b"`;
  const characters = ['"', '\\', ',', ';', '=', 'a', ' '];
  for (let drawn = 0; drawn < characters.length ** 5; drawn++) {
    const before = Array.from({ length: 5 }, (_, place) => characters[Math.floor(drawn / characters.length ** place) % characters.length]).join('');
    const [first] = elementsFromLast([`${before}, ${appended}`]);
    assert.deepEqual(Object.fromEntries(first!), { for: '203.0.113.9:4711', host: String.raw`a\"b` }, before);
  }
});
