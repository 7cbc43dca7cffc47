import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { Pipe } from '../../tests/support/pipe.js';
import { TestProcess, type Descriptors } from '../../tests/support/process.js';
import { until } from '../../tests/support/until.js';

const skip = process.platform === 'linux' ? false : 'there is no such pipe';
/** Beyond it something stands still. */
const timeout = 60_000;

/** It serves nothing. */
const nothing = { routes: [{ match: { path: '/nothing' }, upstream: 'nothing' }], upstreams: { nothing: { endpoints: ['127.0.0.1:1'] } } };

interface Quiet {
  readonly gateway: TestProcess;
  readonly socketPath: string;
  /** What it answers to one request. */
  readonly ask: () => Promise<number | undefined>;
}

/** A gateway that says where it listens to nobody: that is a socket in its own directory. */
function start(context: TestContext, workers: number, output: Descriptors): Quiet {
  const directory = mkdtempSync(join(tmpdir(), 'unread-output-test-'));
  const socketPath = join(directory, 'gateway.sock');
  const gateway = new TestProcess('gateway/main.js', { listen: { path: socketPath }, admin: { port: 0 }, workers, ...nothing }, [], {}, output);
  context.after(() => {
    gateway.child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  const ask = async (): Promise<number | undefined> => {
    const asked = request({ socketPath, headers: { connection: 'close' } }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode;
  };
  return { gateway, socketPath, ask };
}

function untilServing({ gateway, ask }: Quiet): Promise<void> {
  return until(async () => gateway.child.exitCode !== null || (await ask().catch(() => undefined)) !== undefined);
}

function fullPipe(context: TestContext): Pipe {
  const pipe = new Pipe();
  pipe.fill();
  context.after(() => pipe.close());
  return pipe;
}

function fullDisk(context: TestContext): number {
  const fd = openSync('/dev/full', 'w');
  context.after(() => closeSync(fd));
  return fd;
}

const untaken: readonly (readonly [name: string, take: (context: TestContext) => number])[] = [
  ['a full pipe', (context) => fullPipe(context).fd],
  ['a full disk', fullDisk],
];

for (const [name, take] of untaken) {
  test(`a wrong configuration ends it with 64, also if stderr is ${name}`, { skip, timeout }, async (context) => {
    const gateway = new TestProcess('gateway/main.js', '{', [], {}, { stderr: take(context) });
    context.after(() => gateway.child.kill('SIGKILL'));
    assert.equal((await gateway.exited).code, 64);
  });
}

for (const [name, take] of untaken) {
  test(`lines of the access log that are lost on ${name} are counted, and told of`, { skip, timeout }, async (context) => {
    const { gateway, socketPath } = start(context, 1, { stdout: take(context) });
    const { port } = (await gateway.logged('ready'))['admin'] as { port: number };
    // More than what waits: 3,000 lines of more than 7,000 bytes.
    for (let client = 0; client < 10; client++) {
      const socket = connect(socketPath).resume().on('error', () => {});
      context.after(() => socket.destroy());
      socket.write(`GET /${'x'.repeat(7_000)} HTTP/1.1\r\nHost: shop\r\n\r\n`.repeat(300));
    }
    await gateway.logged('lines of the access log are lost: its reader does not keep up, or its disk is full');
    assert.match(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), /^proxy_access_log_lost_lines_total [1-9]/m);
    assert.equal((await gateway.stop()).code, 0);
  });
}

for (const workers of [1, 2]) {
  describe(`output that nobody takes, workers: ${workers}`, { skip }, () => {
    for (const [name, take] of untaken) {
      test(`the access log on ${name} does not keep it from ending`, { timeout }, async (context) => {
        const { gateway, ask } = start(context, workers, { stdout: take(context) });
        await gateway.logged('ready');
        assert.equal(await ask(), 404);
        assert.equal((await gateway.stop()).code, 0);
      });

      test(`stderr on ${name} stalls and ends nothing`, { timeout }, async (context) => {
        const quiet = start(context, workers, { stderr: take(context) });
        await untilServing(quiet);
        quiet.gateway.reload('{');
        for (let count = 0; count < 10; count++) assert.equal(await quiet.ask(), 404);
        assert.equal((await quiet.gateway.stop()).code, 0);
      });
    }

    test('what waits for the reader of stderr is there when it reads', { timeout }, async (context) => {
      const pipe = fullPipe(context);
      const quiet = start(context, workers, { stderr: pipe.fd });
      await untilServing(quiet);
      let log = '';
      await until(() => (log += pipe.read()).includes('"msg":"ready"'));
      pipe.fill();
      quiet.gateway.reload('{');
      assert.equal(await quiet.ask(), 404);
      await until(() => (log += pipe.read()).includes('"msg":"the configuration is wrong; the old one stays"'));
      await quiet.gateway.stop();
      assert.match(log + pipe.read(), /"msg":"draining"/);
    });
  });
}
