import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { route, service, TestControlPlane } from '../../tests/support/control-plane.js';

describe('history and the way back', () => {
  let plane: TestControlPlane;
  before(async () => {
    plane = await TestControlPlane.start({ history: { revisions: 5 } });
    await plane.ask('POST', '/v1/apply', [service('a'), service('b')]);
    await plane.ask('POST', '/v1/routes', route('r', 'a'));
    await plane.ask('PUT', '/v1/services/a', service('a', '127.0.0.1:1'));
  });
  after(() => plane.stop());

  test('says who changed what, when, newest first, in pages', async () => {
    const { body } = await plane.ask('GET', '/v1/history');
    assert.deepEqual(body.items.map(({ version, by, action }) => [version, by, action]), [[3, 'anonymous', 'update'], [2, 'anonymous', 'create'], [1, 'anonymous', 'apply']]);
    assert.deepEqual(body.items[2]!.changes, [{ kind: 'Service', name: 'a', action: 'created' }, { kind: 'Service', name: 'b', action: 'created' }]);
    assert.match(body.items[0]!.at, /^\d{4}-\d\d-\d\dT.*Z$/);
    assert.deepEqual((await plane.ask('GET', '/v1/history?limit=1&before=3')).body.items.map(({ version }) => version), [2]);
    assert.equal((await plane.ask('GET', '/v1/history?limit=0')).status, 422);
  });

  test('of a revision, from what to what, and all that was there', async () => {
    const { body } = await plane.ask('GET', '/v1/history/3');
    assert.deepEqual([body.changes[0]!.before, body.changes[0]!.after, body.resources], [service('a'), service('a', '127.0.0.1:1'), undefined]);
    assert.deepEqual((await plane.ask('GET', '/v1/history/1?resources=true')).body.resources, [service('a'), service('b')]);
    const beyond = await plane.ask('GET', '/v1/history/99');
    assert.deepEqual([beyond.status, beyond.body.code, beyond.body.oldest], [404, 'not_in_history', 1]);
    assert.equal((await plane.ask('GET', '/v1/history/x')).status, 422);
  });

  test('of one resource alone', async () => {
    const { body } = await plane.ask('GET', '/v1/services/a/history');
    assert.deepEqual(body.items.map(({ version, changes }) => [version, changes.length]), [[3, 1], [1, 1]]);
  });

  test('going back makes a new version that is equal to the old one', async () => {
    const dry = await plane.ask('POST', '/v1/rollback?dryRun=true', { version: 1 });
    assert.deepEqual(dry.body.changes.map(({ name, action }) => `${name} ${action}`).sort(), ['a updated', 'r deleted']);
    assert.equal((await plane.ask('GET', '/v1/services')).body.version, 3);
    assert.equal((await plane.ask('POST', '/v1/rollback', { version: 1 }, { headers: { 'if-match': '"2"' } })).status, 412);
    const { status, body } = await plane.ask('POST', '/v1/rollback', { version: 1 }, { headers: { 'if-match': '"3"' } });
    assert.deepEqual([status, body.version], [200, 4]);
    assert.deepEqual((await plane.ask('GET', '/v1/history/4?resources=true')).body.resources, [service('a'), service('b')]);
    assert.equal((await plane.ask('GET', '/v1/history/4')).body.action, 'rollback to 1');
    // And the way back is undone the same way.
    assert.equal((await plane.ask('POST', '/v1/rollback', { version: 3 })).body.version, 5);
    assert.deepEqual((await plane.ask('GET', '/v1/services/a')).body, service('a', '127.0.0.1:1'));
    assert.deepEqual((await plane.ask('POST', '/v1/rollback', { version: 3 })).body, { version: 5, changes: [] }, 'nothing differs: no version');
  });

  test('beyond what history reaches there is no going back, and nothing is made up', async () => {
    for (let round = 0; round < 6; round++) await plane.ask('PUT', '/v1/services/b', service('b', `127.0.0.1:${round + 1}`));
    const { body } = await plane.ask('GET', '/v1/history');
    assert.equal(body.items.length, 5);
    const { status, body: answer } = await plane.ask('POST', '/v1/rollback', { version: 1 });
    assert.deepEqual([status, answer.code, answer.oldest], [404, 'not_in_history', body.items.at(-1)!.version]);
    for (const wrong of [{ version: -1 }, {}, { version: '1' }, { version: 1, more: 1 }]) assert.equal((await plane.ask('POST', '/v1/rollback', wrong)).status, 422, JSON.stringify(wrong));
  });
});
