import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { couldBeDone, Pipe } from '../../tests/support/pipe.js';
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

/** As node gives it to what it starts, and systemd to services. Unlike a pipe it cannot be opened once more. */
async function fullSocket(context: TestContext): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'unread-output-test-'));
  const path = join(directory, 'reader.sock');
  const reader = createServer({ pauseOnConnect: true }).listen(path);
  await once(reader, 'listening');
  const accepted = once(reader, 'connection');
  const socket = connect(path);
  const [peer] = (await accepted) as [Socket];
  context.after(() => {
    for (const end of [socket, peer]) end.destroy();
    reader.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
  for (const size of [4_096, 1]) while (couldBeDone(() => writeSync(fd, Buffer.alloc(size, '.'))));
  return fd;
}

const untaken: readonly (readonly [name: string, take: (context: TestContext) => number | Promise<number>])[] = [
  ['a full pipe', (context) => fullPipe(context).fd],
  ['a full disk', fullDisk],
  ['a full socket', fullSocket],
];

for (const [name, take] of untaken) {
  test(`a wrong configuration ends it with 64, also if stderr is ${name}`, { skip, timeout }, async (context) => {
    const gateway = new TestProcess('gateway/main.js', '{', [], {}, { stderr: await take(context) });
    context.after(() => gateway.child.kill('SIGKILL'));
    assert.equal((await gateway.exited).code, 64);
  });
}

for (const [name, take] of untaken) {
  test(`lines of the access log that are lost on ${name} are counted, and told of`, { skip, timeout }, async (context) => {
    const { gateway, socketPath } = start(context, 1, { stdout: await take(context) });
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
        const { gateway, ask } = start(context, workers, { stdout: await take(context) });
        await gateway.logged('ready');
        assert.equal(await ask(), 404);
        assert.equal((await gateway.stop()).code, 0);
      });

      test(`stderr on ${name} stalls and ends nothing`, { timeout }, async (context) => {
        const quiet = start(context, workers, { stderr: await take(context) });
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

function workersOf({ gateway: { child } }: Quiet): string[] {
  return readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1').trim().split(' ');
}

for (const output of ['stdout', 'stderr'] as const) {
  test(`a worker that is replaced has nobody wait for the reader of ${output}`, { skip, timeout }, async (context) => {
    const quiet = start(context, 2, { [output]: await fullSocket(context) });
    await untilServing(quiet);
    const before = workersOf(quiet);
    // So that lines wait for their reader.
    for (let count = 0; count < 40; count++) assert.equal(await quiet.ask(), 404);
    process.kill(Number(before[0]), 'SIGKILL');
    await until(() => workersOf(quiet).filter((pid) => !before.includes(pid)).length === 1);
    if (output === 'stdout') await quiet.gateway.logged('a worker has started', 3);
    for (let count = 0; count < 20; count++) assert.equal(await quiet.ask(), 404);
    const { code, stderr } = await quiet.gateway.stop();
    assert.equal(code, 0);
    assert.doesNotMatch(stderr, /a worker does not end/);
  });
}

test('what node itself says of a worker is on stderr too', async () => {
  const gateway = new TestProcess('gateway/main.js', { listen: { host: '127.0.0.1', port: 0 }, admin: { port: 0 }, workers: 2, ...nothing }, [], { NODE_OPTIONS: '--trace-exit' });
  await gateway.logged('ready');
  const pids = await Promise.all([1, 2].map(async (count) => (await gateway.logged('a worker has started', count))['workerPid'] as number));
  const { stderr } = await gateway.stop();
  // Of pieces of it that come at once either may be the first.
  for (const pid of pids) assert.match(stderr, new RegExp(`\\(node:${pid}\\)`));
});
