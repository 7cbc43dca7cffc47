import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { startEnrolledPair } from '../support/enrolled-pair.js';
import { until } from '../support/until.js';

/** The library that tells a process another time; undefined where it is not installed. Everything in the process believes it, OpenSSL too. */
function findLibrary(): string | undefined {
  for (const directory of ['/usr/lib/x86_64-linux-gnu/faketime', '/usr/lib/aarch64-linux-gnu/faketime', '/usr/lib/faketime']) {
    try {
      if (readdirSync(directory).includes('libfaketimeMT.so.1')) return join(directory, 'libfaketimeMT.so.1');
    } catch {
      // Not there.
    }
  }
  return undefined;
}

const library = findLibrary();

/** What leases and timeouts go by stays as it is: a monotonic clock cannot be set. */
function off(by: string): NodeJS.ProcessEnv {
  return { LD_PRELOAD: library!, FAKETIME: by, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}

describe('clocks five minutes apart', { skip: library === undefined ? 'faketime is not installed' : false, timeout: 110_000 }, () => {
  for (const [caller, callee] of [['+5m', '-5m'], ['-5m', '+5m']] as const) {
    test(`a caller at ${caller} and a callee at ${callee} enrol and call each other under load, through changes of policies, and nothing fails`, async (context) => {
      const pair = await startEnrolledPair(context, {
        app: () => 'three teapots',
        policies: { identity: { mtls: { mode: 'strict' } } },
        environments: { caller: off(caller), callee: off(callee) },
      });
      const failures: string[] = [];
      let isOver = false;
      let done = 0;
      const load = async (): Promise<void> => {
        while (!isOver) {
          const { status, body } = await pair.call('GET', '/stock/teapot').catch((error: unknown) => ({ status: 0, body: String(error) }));
          if (status === 200) done++;
          else failures.push(`${status} ${body}`);
          await sleep(20);
        }
      };
      const running = Promise.all([load(), load(), load(), load()]);
      for (const timeout of ['3s', '4s', '5s']) {
        const { status } = await pair.mesh.ask('PUT', '/v1/policies/patience', { placement: 'sidecar', target: { services: ['inventory'] }, spec: { timeout } });
        assert.equal(status, 200);
        const enough = done + 100;
        await until(() => done >= enough || failures.length > 0);
      }
      isOver = true;
      await running;
      assert.deepEqual(failures, [], `of ${done} calls`);
      for (const [process, by] of [[pair.caller, caller], [pair.callee, callee]] as const) {
        const off = Number((await process.logged('ready'))['time']) - Date.now();
        assert.equal(Math.round(off / 60_000), parseInt(by, 10), 'its clock is as it was told to be');
      }
    });
  }
});
