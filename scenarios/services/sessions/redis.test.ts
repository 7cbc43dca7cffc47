import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../lab/free-port.js';
import { redisArguments } from '../../lab/outside.js';
import { Store } from '../../a-tcp-dependency-fails-over-unseen/store.js';
import { RedisClient, StoreFailure } from './redis-client.js';
import { encodeCommand, RespReader } from './resp.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));

/** Starts a store that keeps its values in `directory`, as a standby of another if there is a `primary`. */
type Start = (port: number, directory: string, primary?: number) => ChildProcess;

const startTwin: Start = (port, directory, primary) =>
  spawn(process.execPath, [main, 'redis-twin'], {
    stdio: 'ignore', env: { ...process.env, HOST: '127.0.0.1', PORT: String(port), FILE: join(directory, 'values'), ...(primary !== undefined && { REPLICA_OF: `127.0.0.1:${primary}` }) },
  });

const startRedis: Start = (port, directory, primary) => {
  const at = { listen: () => ({ host: '127.0.0.1', port }), of: () => `127.0.0.1:${primary!}` } as never;
  return spawn('redis-server', redisArguments({ kind: 'redis', twin: { entry: '', args: [] }, ...(primary !== undefined && { primary: 'other' }) }, at, directory), { stdio: 'ignore' });
};

const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
const kinds: readonly (readonly [name: string, start: Start])[] = [['the twin', startTwin], ...(hasRedis ? [['Redis', startRedis] as const] : [])];

// The same cases for both: the twin must behave as the original does.
for (const [name, start] of kinds) {
  describe(`a store of sessions, by ${name}`, () => {
    const directories = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'sessions-test-')));
    let ports: number[];
    let primary: ChildProcess;
    let standby: ChildProcess;
    let stores: Store[];
    before(async () => {
      ports = await freePorts(2);
      primary = start(ports[0]!, directories[0]!);
      standby = start(ports[1]!, directories[1]!, ports[0]);
      stores = ports.map((port) => new Store(`127.0.0.1:${port}`));
      await stores[0]!.keep('session:1', 'alice');
    });
    after(async () => {
      for (const store of stores) store.close();
      for (const child of [primary, standby]) {
        if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await once(child, 'exit');
      }
      for (const directory of directories) rmSync(directory, { recursive: true, force: true });
    });

    test('gives what it was given, and nothing for what it was not', async () => {
      assert.equal(await stores[0]!.read('session:1'), 'alice');
      assert.equal(await stores[0]!.read('session:2'), undefined);
    });

    test('has a standby that gets it too, counts its reads and takes no writes', async () => {
      await stores[1]!.has('session:1');
      const hits = await stores[1]!.hits();
      assert.equal(await stores[1]!.read('session:1'), 'alice');
      assert.equal(await stores[1]!.hits(), hits + 1);
      const client = new RedisClient(`127.0.0.1:${ports[1]!}`);
      await assert.rejects(client.send('SET', 'session:3', 'bob'), /READONLY/);
      await assert.rejects(client.send('NOSUCH'), /ERR unknown command/);
      client.close();
    });

    test('has what it had when it is back after a crash, and its standby follows it again', async () => {
      await Promise.all([once(primary, 'exit'), stores[0]!.crash()]);
      assert.equal(await stores[1]!.read('session:1'), 'alice', 'the standby is there without it');
      await assert.rejects(stores[0]!.read('session:1'), StoreFailure);
      primary = start(ports[0]!, directories[0]!);
      await stores[0]!.has('session:1');
      await stores[0]!.keep('session:4', 'carol');
      await stores[1]!.has('session:4');
    });
  });
}

describe('the client of a store', () => {
  let server: Server;
  let answer: (socket: Socket, commands: number) => void;
  let client: RedisClient;
  before(async () => {
    server = createServer((socket) => {
      const reader = new RespReader();
      let commands = 0;
      socket.on('error', () => {});
      socket.on('data', (data) => reader.take(data).forEach(() => answer(socket, ++commands)));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    client = new RedisClient(`127.0.0.1:${(server.address() as AddressInfo).port}`, 300);
  });
  after(() => {
    client.close();
    server.close();
  });

  test('keeps one connection, on which answers come in order', async () => {
    answer = (socket, commands) => socket.write(`:${commands}\r\n`);
    assert.deepEqual(await Promise.all([client.send('A'), client.send('B'), client.send('C')]), [1, 2, 3]);
  });

  test('fails what was asked on a connection that broke, and asks nothing twice', async () => {
    let asked = 0;
    answer = (socket) => (++asked, socket.destroy());
    assert.deepEqual((await Promise.allSettled([client.send('A'), client.send('B')])).map(({ status }) => status), ['rejected', 'rejected']);
    assert.ok(asked <= 2);
    answer = (socket, commands) => socket.write(`:${commands}\r\n`);
    assert.equal(await client.send('A'), 1, 'a new connection');
  });

  test('gives up a connection that is silent', async () => {
    answer = () => {};
    await assert.rejects(client.send('A'), /does not answer/);
  });

  test('does not take what is no answer of a Redis', async () => {
    answer = (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
    await assert.rejects(client.send('A'), StoreFailure);
  });
});

test('answers are read whole, however they are cut', () => {
  const bytes = Buffer.from(`+OK\r\n$-1\r\n$5\r\nh\r\nöo\r\n`.replace('$5', '$6') + `:7\r\n-ERR no\r\n${encodeCommand(['SET', 'é', ''])}`);
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new RespReader();
    const replies = [];
    for (let at = 0; at < bytes.length; at += size) replies.push(...reader.take(bytes.subarray(at, at + size)));
    assert.deepEqual(replies, ['OK', null, 'h\r\nöo', 7, new Error('ERR no'), ['SET', 'é', '']], `cut every ${size}`);
  }
  assert.throws(() => new RespReader(10).take(Buffer.from('$100\r\naaaaaaaaaaaaaaa')), /longer than 10 bytes/);
});
