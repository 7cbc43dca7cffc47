import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fieldKind, kindsOf } from './field-names.js';
import { Headers } from './headers.js';
import { parseFields } from '../http1/head.js';

const parsed = (...lines: string[]): Headers => parseFields(lines.map((line) => `${line}\r\n`).join(''), 0, 100);

describe('headers', () => {
  test('go out as they came in: order, spelling, spaces and duplicates', () => {
    const lines = ['Host: shop', 'accept:  a ', 'X-A: 1', 'x-a:2', 'Accept: b'];
    assert.equal(parsed(...lines).toWire(), lines.map((line) => `${line}\r\n`).join(''));
  });

  test('are found by their lower-case name, also those that were added', () => {
    const headers = parsed('Host: shop', 'ACCEPT:  a ', 'accept: b');
    headers.append('X-Added', 'c');
    assert.deepEqual([headers.get('accept'), headers.getAll('accept'), headers.getCombined('accept'), headers.count('accept'), headers.get('x-added'), headers.get('x-other')], ['a', ['a', 'b'], 'a, b', 2, 'c', undefined]);
    assert.deepEqual([...headers], [['host', 'shop'], ['accept', 'a'], ['accept', 'b'], ['x-added', 'c']]);
  });

  test('have blanks around a value removed, and nothing else', () => {
    const headers = parsed('A: \t x y \t', 'B:\xa0z\xa0', 'C: ', 'D:');
    assert.deepEqual(['a', 'b', 'c', 'd'].map((name) => headers.get(name)), ['x y', '\xa0z\xa0', '', '']);
  });

  test('know what they have more than one of', () => {
    const headers = parsed('Host: a', 'Content-Length: 1', 'host: b');
    assert.deepEqual([headers.repeatsKind(fieldKind.host), headers.repeatsKind(fieldKind.contentLength)], [true, false]);
    headers.delete('host');
    assert.deepEqual([headers.repeatsKind(fieldKind.host), headers.hasKind(fieldKind.host), headers.hasKind(fieldKind.contentLength)], [false, false, true]);
  });

  test('give the first value of a kind, wherever it stands and whatever was removed', () => {
    const headers = parsed('A: 1', 'content-length:  7 ', 'host: one', 'Host: two', 'Via: x');
    const values = (): (string | undefined)[] => [fieldKind.host, fieldKind.contentLength, fieldKind.via, fieldKind.expect].map((kind) => headers.getKind(kind));
    assert.deepEqual(values(), ['one', '7', 'x', undefined]);
    headers.delete('content-length');
    headers.append('Expect', '100-continue');
    assert.deepEqual(values(), ['one', undefined, 'x', '100-continue']);
    headers.delete('host');
    assert.deepEqual(values(), [undefined, undefined, 'x', '100-continue']);
  });

  test('are replaced in the place and the spelling of the first', () => {
    const headers = parsed('A: 1', 'x-id: old', 'B: 2', 'X-Id: older');
    headers.append('C', '3');
    headers.set('X-Id', 'a longer one');
    assert.equal(headers.toWire(), 'A: 1\r\nx-id: a longer one\r\nB: 2\r\nC: 3\r\n');
    assert.deepEqual([headers.get('b'), headers.get('c'), headers.size], ['2', '3', 4]);
  });

  test('a clone is changed alone', () => {
    const headers = parsed('A: 1');
    const clone = headers.clone();
    clone.append('B', '2');
    clone.set('A', '3');
    headers.delete('a');
    assert.deepEqual([headers.toWire(), clone.toWire()], ['', 'A: 3\r\nB: 2\r\n']);
  });

  test('any series of changes gives what the same changes give to a plain list', () => {
    const name = fc.constantFrom('Host', 'X-A', 'x-a', 'Connection', 'Via', 'X-Forwarded-For', 'Y');
    const value = fc.stringMatching(/^[a-z]{0,6}$/);
    const change = fc.oneof(
      fc.record({ kind: fc.constant('append' as const), name, value }),
      fc.record({ kind: fc.constant('set' as const), name, value }),
      fc.record({ kind: fc.constant('delete' as const), name }),
      fc.record({ kind: fc.constant('deleteKind' as const), kinds: fc.constantFrom(fieldKind.hopByHop, fieldKind.forwarding, fieldKind.hopByHop | fieldKind.protected) }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), fc.array(change, { maxLength: 8 }), (start, changes) => {
        const headers = parsed(...start.map(([name, value]) => `${name}: ${value}`));
        let model = start.map(([name, value]) => [name, value] as [string, string]);
        for (const step of changes) {
          if (step.kind === 'append') {
            headers.append(step.name, step.value);
            model.push([step.name, step.value]);
          } else if (step.kind === 'set') {
            headers.set(step.name, step.value);
            const first = model.findIndex(([name]) => name.toLowerCase() === step.name.toLowerCase());
            if (first === -1) model.push([step.name, step.value]);
            else model = model.flatMap(([name, value], index) => (index === first ? [[name, step.value]] : name.toLowerCase() === step.name.toLowerCase() ? [] : [[name, value]]));
          } else if (step.kind === 'delete') {
            headers.delete(step.name.toLowerCase());
            model = model.filter(([name]) => name.toLowerCase() !== step.name.toLowerCase());
          } else {
            headers.deleteKind(step.kinds);
            model = model.filter(([name]) => (kindsOf(name.toLowerCase()) & step.kinds) === 0);
          }
        }
        assert.equal(headers.toWire(), model.map(([name, value]) => `${name}: ${value}\r\n`).join(''));
        assert.deepEqual([...headers], model.map(([name, value]) => [name.toLowerCase(), value]));
        for (const [name] of model) assert.deepEqual(headers.getAll(name.toLowerCase()), model.filter(([other]) => other.toLowerCase() === name.toLowerCase()).map(([, value]) => value));
      }),
      { numRuns: 500 },
    );
  });

  test('names without end make the table of sequences start anew, and nothing else', () => {
    for (let index = 0; index < 25_000; index++) assert.equal(parsed(`X-${index}: ${index}`, 'Host: shop').get(`x-${index}`), String(index));
    assert.equal(parsed('Host: shop').get('host'), 'shop');
  });
});
