import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request, response } from '../../tests/support/policy.js';
import { tracing } from './tracing.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;

/** What goes upstream of these fields. */
async function sent(...fields: readonly (readonly [name: string, value: string])[]) {
  const over = exchange();
  const asked = request(over);
  for (const [name, value] of fields) asked.headers.append(name, value);
  await tracing({ trustRequestId: true })(async () => response(200))(asked, over);
  const { headers } = asked;
  return { traceparents: headers.getAll('traceparent'), tracestate: headers.get('tracestate'), requestIds: headers.getAll('x-request-id') };
}

describe('tracing', () => {
  test('goes on with the trace of a request, and with its state', async () => {
    const { traceparents, tracestate, requestIds } = await sent(['traceparent', traceparent], ['tracestate', 'a=1'], ['X-Request-Id', 'mine']);
    assert.deepEqual([traceparents.length, traceparents[0]!.slice(3, 35), tracestate, requestIds], [1, traceId, 'a=1', ['mine']]);
  });

  for (const [name, second] of [['another', traceparent.replace('0af7', '1af7')], ['the same again', traceparent], ['one that is malformed', 'x']] as const) {
    test(`begins a new trace where beside one traceparent there is ${name}`, async () => {
      const { traceparents, tracestate, requestIds } = await sent(['traceparent', traceparent], ['Traceparent', second], ['tracestate', 'a=1'], ['X-Request-Id', 'mine']);
      assert.match(traceparents.join(), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      assert.doesNotMatch(traceparents[0]!, /[01]af7651916cd43dd8448eb211c80319c/);
      assert.deepEqual([tracestate, requestIds], [undefined, ['mine']]);
    });
  }
});
