import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { continueTrace, formatTraceparent, newIds } from './trace-context.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';

describe('trace context', () => {
  test('a valid traceparent is continued with a span of our own', () => {
    for (const field of [`00-${traceId}-${parentId}-01`, `cc-${traceId}-${parentId}-00`, `cc-${traceId}-${parentId}-00-what a later version adds`]) {
      const trace = continueTrace(field);
      assert.deepEqual([trace.traceId, trace.parentSpanId, trace.flags], [traceId, parentId, field.slice(53, 55)], field);
      assert.match(trace.spanId, /^[0-9a-f]{16}$/);
      assert.notEqual(trace.spanId, parentId);
      assert.equal(formatTraceparent(trace), `00-${traceId}-${trace.spanId}-${trace.flags}`);
    }
  });

  test('of its flags those that mean something are passed on', () => {
    const passedOn: readonly (readonly [flags: string, expected: string])[] = [['00', '00'], ['01', '01'], ['02', '02'], ['03', '03'], ['04', '00'], ['09', '01'], ['0a', '02'], ['fd', '01'], ['fe', '02'], ['ff', '03'], ['f0', '00']];
    for (const [flags, expected] of passedOn) assert.equal(continueTrace(`00-${traceId}-${parentId}-${flags}`).flags, expected, flags);
  });

  const malformed: Readonly<Record<string, string | undefined>> = {
    'none at all': undefined,
    'an empty one': '',
    'one that is too short': `00-${traceId}-${parentId}-0`,
    'version 00 with more behind it': `00-${traceId}-${parentId}-01-more`,
    'a later version that goes on without a dash': `cc-${traceId}-${parentId}-01.more`,
    'version ff': `ff-${traceId}-${parentId}-01`,
    'a version that is no number': `0x-${traceId}-${parentId}-01`,
    'upper-case digits': `00-${traceId.toUpperCase()}-${parentId}-01`,
    'an id with a character beyond f': `00-${traceId.slice(1)}g-${parentId}-01`,
    'an id with a character between the digits and the letters': `00-${traceId}-${parentId.slice(1)}:-01`,
    'an id with a character beyond Latin-1': `00-${traceId.slice(1)}\u0130-${parentId}-01`,
    'flags with a character below the digits': `00-${traceId}-${parentId}-/1`,
    'a trace of zeros': `00-${'0'.repeat(32)}-${parentId}-01`,
    'a parent of zeros': `00-${traceId}-${'0'.repeat(16)}-01`,
    'something else than a dash behind the version': `00_${traceId}-${parentId}-01`,
    'something else than a dash behind the trace': `00-${traceId}_${parentId}-01`,
    'something else than a dash behind the parent': `00-${traceId}-${parentId}_01`,
  };
  for (const [name, field] of Object.entries(malformed)) {
    test(`${name} starts a new trace`, () => {
      const trace = continueTrace(field);
      assert.match(trace.traceId, /^[0-9a-f]{32}$/);
      assert.deepEqual([trace.traceId === traceId, trace.parentSpanId, trace.flags], [false, undefined, '01']);
    });
  }

  test('ids differ, also beyond a block of random bytes', () => {
    const ids = Array.from({ length: 1_000 }, newIds);
    for (const id of ids) assert.match(id, /^[0-9a-f]{80}$/);
    assert.equal(new Set(ids).size, ids.length);
  });
});
