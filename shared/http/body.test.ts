import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StreamBody, type BodySink } from './body.js';

const bytes = Buffer.from('data');

/** A body and what it asks of its source, in order. */
function bodyOf(): { body: StreamBody; asked: string[] } {
  const asked: string[] = [];
  const body = new StreamBody(undefined, { pause: () => asked.push('pause'), resume: () => asked.push('resume'), cancel: () => asked.push('cancel') });
  return { body, asked };
}

describe('StreamBody', () => {
  for (const [name, over] of [['ended', (body: StreamBody) => body.end()], ['failed', (body: StreamBody) => body.fail(new Error('broken off'))]] as const) {
    test(`that has ${name} and is cancelled does not cancel its source, which may fill another by now`, () => {
      const { body, asked } = bodyOf();
      body.push(bytes);
      over(body);
      body.cancel(new Error('nobody wants it'));
      assert.deepEqual(asked, ['pause']);
    });
  }

  test('gives a sink that cancels it nothing more of what was held', () => {
    const { body, asked } = bodyOf();
    const got: string[] = [];
    body.push(bytes);
    body.push(bytes);
    const sink: BodySink = {
      chunk: () => {
        got.push('chunk');
        body.cancel(new Error('enough'));
        return true;
      },
      end: () => got.push('end'),
      fail: () => got.push('fail'),
    };
    body.pipe(sink);
    body.end();
    assert.deepEqual([got, asked], [['chunk'], ['pause', 'pause', 'cancel']]);
  });
});
