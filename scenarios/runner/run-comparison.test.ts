import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedPort } from '../../tests/support/origin.js';
import { claims } from '../claims.js';
import type { Lab } from '../lab/lab.js';
import { reportHtml } from '../report/html.js';
import { scoreboard } from '../report/scoreboard.js';
import { runComparison } from './run-comparison.js';

test('a claim that throws is recorded with its reason, and the others are run all the same', async () => {
  const port = await refusedPort();
  const lab: Lab = { mode: 'embedded', units: [], url: () => `http://127.0.0.1:${port}`, notes: ['A note.'], adminToken: undefined, kill: async () => {}, close: async () => {} };
  const [broken, other] = claims.slice(0, 2) as [(typeof claims)[number], (typeof claims)[number]];
  const throwing = { ...broken, policies: () => { throw new Error('no <policy>'); } };
  const steps: string[] = [];
  const document = await runComparison([throwing, other], lab, { seed: 1, progress: { step: (what, done, all, detail) => steps.push(`${what} ${done}/${all} ${detail}`), finish: () => {} } });
  const noControlPlane = `fetch failed: connect ECONNREFUSED 127.0.0.1:${port}`;
  assert.deepEqual(document.claims.map(({ name, failure, verdict }) => [name, failure, verdict]), [[broken.name, 'no <policy>', 'not as expected'], [other.name, noControlPlane, 'not as expected']]);
  assert.deepEqual(document.notes, ['A note.', `The policies of the last claim are still in force: ${noControlPlane}.`]);
  assert.ok(steps.includes(`${broken.name} 12/12 no <policy>`), steps.join('\n'));
  assert.match(reportHtml(document), /2 of 2 claims did not come out as expected[^]*It could not be put to the test: no &lt;policy&gt;/);
  assert.match(scoreboard(document.claims), /NOT AS EXPECTED[^]*could not be put to the test: no <policy>/);
});
