import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tcpOrigin } from '../../tests/support/origin.js';
import type { LoadReport, Target } from './target.js';

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A generator, started as the bench starts it, until it has reported. */
function generator(loop: 'closed' | 'open', target: Target): { readonly pid: number; readonly report: Promise<LoadReport> } {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`${loop}-loop.js`, import.meta.url)), JSON.stringify(target)], { stdio: ['ignore', 'pipe', 'inherit'] });
  return { pid: child.pid!, report: text(child.stdout).then((said) => JSON.parse(said.trimEnd().split('\n').at(-1)!) as LoadReport) };
}

for (const loop of ['closed', 'open'] as const) {
  test(`a file of fields: the ${loop} loop sends each of its lines in turn, from where it is told, and begins again at its end`, async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'generators-test-'));
    context.after(() => rmSync(directory, { recursive: true }));
    const fieldsFile = join(directory, 'fields.txt');
    writeFileSync(fieldsFile, 'X: a\nX: b\nX: c\n');
    const sent: string[] = [];
    const origin = await tcpOrigin((socket) => {
      socket.on('data', (data) => {
        sent.push(/\r\nX: (\w)\r\n\r\n$/.exec(data.toString())?.[1] ?? data.toString());
        socket.write(answer);
      });
    });
    context.after(() => origin.close());
    const { taken } = await generator(loop, { port: origin.port, seconds: 0.5, connections: 1, rate: 20, fieldsFile, skip: 2 }).report;
    assert.equal(taken, sent.length);
    assert.ok(taken > 1, `${taken} requests`);
    assert.deepEqual(sent, Array.from(sent, (_, index) => 'cab'[index % 3]));
  });
}

describe('the closed loop', () => {
  const connections = 4;
  const servers: readonly (readonly [name: string, answers: number, failed: number])[] = [
    ['closes no connection', Infinity, 0],
    ['closes each with a request unanswered', 2, connections],
    ['closes each right after an answer', 1, connections],
  ];
  for (const [name, answers, failed] of servers) {
    test(`counts what failed where the server ${name}`, async (context) => {
      const origin = await tcpOrigin((socket) => {
        let requests = 0;
        socket.on('data', () => {
          if (++requests <= answers) socket.write(answer);
          if (requests > answers || answers === 1) socket.end();
        });
      });
      context.after(() => origin.close());
      const report = await generator('closed', { port: origin.port, seconds: 0.5, connections }).report;
      assert.equal(report.failed, failed);
      if (failed === 0) assert.ok(report.seconds >= 0.5, `${report.seconds} s`);
    });
  }
});

describe('the open loop', () => {
  test('tells what it sent late, since what that would have waited is not in its percentiles', async (context) => {
    let standsStill = false;
    const origin = await tcpOrigin((socket) => {
      socket.on('data', () => {
        socket.write(answer);
        if (standsStill) return;
        standsStill = true;
        process.kill(pid, 'SIGSTOP');
        setTimeout(() => process.kill(pid, 'SIGCONT'), 400);
      });
    });
    context.after(() => origin.close());
    const { pid, report } = generator('open', { port: origin.port, seconds: 1, connections: 4, rate: 200 });
    const { requests, failed, late } = await report;
    assert.deepEqual([requests, failed], [200, 0]);
    // A busy machine adds to them.
    assert.ok(late > 0.35, `${late} of them were late`);
  });
});
