import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { schemaVersion, type ReportDocument } from './document.js';
import { describeMachine } from './machine.js';
import { prepareFile, prepareReports, writeReport } from './write.js';

const parent = mkdtempSync(join(tmpdir(), 'write-report-test-'));
after(() => rmSync(parent, { recursive: true }));

function document(startedAt: string): ReportDocument {
  return { schemaVersion, startedAt, durationMs: 1, seed: 1, mode: 'embedded', machine: describeMachine(), notes: [], claims: [] };
}

describe('reports', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(parent, 'reports-'));
  });

  test('the newest is found by a link, and nothing else is left', () => {
    prepareReports(directory);
    for (const startedAt of ['2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z']) writeReport(document(startedAt), directory);
    assert.equal(readlinkSync(join(directory, 'latest')), '2026-01-02T00-00-00-000Z');
    assert.deepEqual(readdirSync(directory).sort(), ['2026-01-01T00-00-00-000Z', '2026-01-02T00-00-00-000Z', 'latest']);
  });

  test('a folder that has the name of the link is refused, and keeps what is in it', () => {
    const kept = join(directory, 'latest', 'kept');
    mkdirSync(join(directory, 'latest'));
    writeFileSync(kept, 'mine');
    assert.throws(() => prepareReports(directory), /latest is no symbolic link/);
    assert.throws(() => writeReport(document('2026-01-01T00:00:00.000Z'), directory), /latest is no symbolic link/);
    assert.equal(readFileSync(kept, 'utf8'), 'mine');
  });

  test('a file is tried out without a trace', () => {
    const file = join(directory, 'below', 'results.json');
    prepareFile(file);
    assert.deepEqual(readdirSync(join(directory, 'below')), []);
    writeFileSync(file, 'mine');
    prepareFile(file);
    assert.equal(readFileSync(file, 'utf8'), 'mine');
    assert.throws(() => prepareFile(directory), /EISDIR/);
    assert.throws(() => prepareFile(join(file, 'below.json')), /ENOTDIR|EEXIST/);
  });
});
