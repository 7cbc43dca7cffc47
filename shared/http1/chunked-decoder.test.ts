import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkedDecoder } from './chunked-decoder.js';

test('the chunks of one piece go on as one, whatever is before and behind them', () => {
  const decoder = new ChunkedDecoder();
  const emitted: string[] = [];
  const decode = (text: string, offset = 0): number => decoder.decode(Buffer.from(text, 'latin1'), offset, (data) => emitted.push(data.toString('latin1')));
  const begin = 'head5\r\nhello\r\n1\r\n \r\n3;x=y\r\nwor\r\n9\r\nld, ';
  assert.equal(decode(begin, 4), begin.length);
  decode('and');
  decode(' ');
  const rest = 'u\r\n1\r\ns\r\n0\r\n\r\n';
  assert.equal(decode(`${rest}GET / HTTP/1.1\r\n`), rest.length);
  assert.deepEqual(emitted, ['hello world, ', 'and', ' ', 'us']);
  assert.equal(decoder.done, true);
});

test('what stands before a violation goes on', () => {
  const emitted: string[] = [];
  assert.throws(() => new ChunkedDecoder().decode(Buffer.from('2\r\nab\r\n1\r\nc\r\nx\r\n'), 0, (data) => emitted.push(data.toString())), { message: /chunk size/ });
  assert.deepEqual(emitted, ['abc']);
});
