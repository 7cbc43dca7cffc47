import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, test, type TestContext } from 'node:test';
import * as tls from 'node:tls';
import { TestAuthority } from '../../tests/support/certificates.js';
import { seeded } from '../../tests/support/seeded.js';
import { until } from '../../tests/support/until.js';
import { lendReads } from '../listener/http1/lend-reads.js';
import { SocketWriter } from './socket-writer.js';

const plainServer = net.createServer({ allowHalfOpen: true });
let authority: TestAuthority;
let tlsServer: tls.Server;
before(async () => {
  authority = await TestAuthority.create();
  const { cert, key } = await authority.issue('server', { dns: ['localhost'] });
  tlsServer = tls.createServer({ cert: readFileSync(cert), key: readFileSync(key), allowHalfOpen: true });
  await Promise.all([plainServer, tlsServer].map((server) => once(server.listen(0, '127.0.0.1'), 'listening')));
});
after(() => {
  plainServer.close();
  tlsServer.close();
  authority.remove();
});

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  /** Has the far end reset the connection. */
  readonly reset: () => void;
}

type MakePair = (context: TestContext) => Promise<Omit<Pair, 'reset'>>;

function portOf(server: net.Server): number {
  return (server.address() as AddressInfo).port;
}

function closedAfter(context: TestContext, both: Pair): Pair {
  context.after(() => {
    both.near.destroy();
    both.far.destroy();
  });
  return both;
}

/** A connection: our end, and the far one, which reads nothing until it is told to. */
async function pair(context: TestContext): Promise<Pair> {
  const accepted = once(plainServer, 'connection') as Promise<[Socket]>;
  const far = net.connect({ port: portOf(plainServer), host: '127.0.0.1' });
  const [[near]] = await Promise.all([accepted, once(far, 'connect')]);
  return closedAfter(context, { near, far, reset: () => far.resetAndDestroy() });
}

/** The same with TLS, and ours the end that accepted it. */
async function acceptedPair(context: TestContext, port = portOf(tlsServer)): Promise<Pair & { readonly below: Socket }> {
  const accepted = once(tlsServer, 'secureConnection') as Promise<[Socket]>;
  const below = net.connect({ port, host: '127.0.0.1' });
  const far = tls.connect({ socket: below, servername: 'localhost', ca: readFileSync(authority.ca) });
  const [[near]] = await Promise.all([accepted, once(far, 'secureConnect')]);
  return { ...closedAfter(context, { near, far, reset: () => below.resetAndDestroy() }), below };
}

/** The same with TLS, and ours the end that opened it. */
async function openedPair(context: TestContext): Promise<Omit<Pair, 'reset'>> {
  const { near, far } = await acceptedPair(context);
  return { near: far, far: near };
}

async function read(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of socket as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString('latin1');
}

/** Writes short messages until the kernel takes no more of them; what was written. */
function fill(writer: SocketWriter): string {
  let written = '';
  for (let number = 0; !writer.hasUnsent; number++) {
    const [head, body] = [`${number} `.padEnd(200, '-'), `${number} `.padEnd(1_000, '=')];
    writer.message(head, Buffer.from(body));
    written += head + body;
  }
  return written;
}

const kinds: readonly (readonly [name: string, make: MakePair])[] = [['a socket', pair], ['TLS that was accepted', acceptedPair], ['TLS that was opened', openedPair]];

for (const [name, make] of kinds) {
  describe(`writing to ${name}`, () => {
    test('the first messages, and all others, arrive as they were written', async (context) => {
      const { near, far } = await make(context);
      const writer = new SocketWriter(near);
      for (let i = 0; i < 3; i++) {
        assert.equal(writer.text(`head ${i}\xe9 `), true);
        assert.equal(writer.message(`head ${i} `, Buffer.from([0, 255])), true);
        assert.equal(writer.message('alone ', Buffer.alloc(0)), true);
      }
      near.end();
      assert.equal(await read(far), [0, 1, 2].map((i) => `head ${i}\xe9 head ${i} \x00\xffalone `).join(''));
    });

    test('what waits in the stream goes first', async (context) => {
      const { near, far } = await make(context);
      const writer = new SocketWriter(near);
      writer.text('first ');
      const large = ['a', 'b'].map((letter) => letter.repeat(8 * 1_024 * 1_024));
      for (const text of large) near.write(text);
      writer.text('last');
      near.end();
      assert.equal((await read(far)) === `first ${large.join('')}last`, true);
    });

    test('messages of any length keep their order, however the other side reads', async (context) => {
      const random = seeded(7);
      const { near, far } = await make(context);
      const writer = new SocketWriter(near);
      const [wanted, got] = [[] as string[], [] as string[]];
      far.on('data', (data: Buffer) => {
        got.push(data.toString('latin1'));
        if (random() < 0.2) {
          far.pause();
          setImmediate(() => far.resume());
        }
      });
      for (let number = 0; number < 3_000; number++) {
        const [head, length] = [`<${number}>`, Math.floor(random() ** 4 * 60_000)];
        const body = Buffer.alloc(length, String(number % 10));
        wanted.push(head + body.toString('latin1'));
        if (random() < 0.1) near.write(head + body.toString('latin1'), 'latin1');
        else writer.message(head, body);
        if (near.writableNeedDrain) await once(near, 'drain');
      }
      near.end();
      await once(far, 'end');
      assert.ok(got.join('') === wanted.join(''));
    });
  });
}

for (const [name, make] of [['a socket', pair], ['TLS', acceptedPair]] as const) {
  test(`a connection of ${name} that the other side has reset ends with an error, and no write throws`, async (context) => {
    const { near, far, reset } = await make(context);
    const writer = new SocketWriter(near);
    writer.text('first');
    near.pause();
    const failed = once(near, 'error') as Promise<[NodeJS.ErrnoException]>;
    const closed = new Promise<void>((resolve) => near.on('close', () => resolve()));
    reset();
    await once(far, 'close');
    while (!near.destroyed) {
      writer.text('more');
      await new Promise(setImmediate);
    }
    assert.match((await failed)[0].code!, /^(EPIPE|ECONNRESET)$/);
    await closed;
    assert.equal(writer.text('too late'), false);
  });
}

describe('writing past the stream of a socket', () => {
  test('short messages do not pass through the stream', async (context) => {
    const { near, far } = await pair(context);
    const writer = new SocketWriter(near);
    // The first one goes there, since the stream shows how it is done.
    writer.text('first ');
    const write = context.mock.method(near, '_write');
    writer.text('text ');
    writer.message('head ', Buffer.from('body'));
    assert.equal(write.mock.callCount(), 0);
    near.end();
    assert.equal(await read(far), 'first text head body');
  });

  test('what the kernel does not take at once is not overwritten, and what comes then goes behind it', async (context) => {
    const { near, far } = await pair(context);
    const writer = new SocketWriter(near);
    let expected = fill(writer);
    assert.deepEqual([near.writableLength, writer.hasUnsent], [0, true], 'the stream knows nothing of it');
    // Another socket is written to in the meantime, from the same memory.
    const other = await pair(context);
    const otherWriter = new SocketWriter(other.near);
    for (let i = 0; i < 20; i++) otherWriter.message('x'.repeat(500), Buffer.alloc(2_000, 'y'));
    for (let i = 0; i < 20; i++) {
      writer.message(`later ${i} `, Buffer.from('body '));
      writer.text(`text ${i} `);
      expected += `later ${i} body text ${i} `;
    }
    assert.notEqual(near.writableLength, 0, 'what comes then waits in the stream');
    near.end();
    assert.equal(await read(far), expected);
    assert.equal(writer.hasUnsent, false);
  });

  /*
   * The kernel may take a message in two parts, the second within the same call, as room comes: then nothing waits any more, and yet Node is
   * not done with the write until the loop says so. What waits is hidden here, which looks the same. A second use of the request would abort.
   */
  test('a write that lasts though nothing of it waits to be sent is not mistaken for one that is done', () => {
    const script = `
      import { once } from 'node:events';
      import * as net from 'node:net';
      import { SocketWriter } from ${JSON.stringify(new URL('./socket-writer.js', import.meta.url).href)};
      const server = net.createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const pairs = [];
      for (let number = 0; number < 3; number++) {
        const far = net.connect(server.address().port, '127.0.0.1');
        const [[near]] = await Promise.all([once(server, 'connection'), once(far, 'connect')]);
        pairs.push({ near, far, writer: new SocketWriter(near) });
      }
      for (const { near } of pairs) Object.defineProperty(near._handle, 'writeQueueSize', { get: () => 0 });
      let lasting = 0;
      for (const { near, writer } of pairs) {
        for (let number = 0; number < 10_000 && !writer.hasUnsent; number++) writer.message('head', Buffer.alloc(10_000));
        if (writer.hasUnsent && near.writableLength === 0) lasting++;
      }
      const all = await Promise.all(pairs.map(async ({ near, far }) => {
        near.end();
        let read = 0;
        for await (const part of far) read += part.length;
        return read > 0 && read % 10_004 === 0;
      }));
      server.close();
      console.log(lasting, ...all);`;
    const { signal, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 30_000 });
    assert.deepEqual({ signal, stdout, stderr }, { signal: null, stdout: '3 true true true\n', stderr: '' });
  });

  test('a reader that reads nothing is told of: the stream asks for patience', async (context) => {
    const { near } = await pair(context);
    const writer = new SocketWriter(near);
    fill(writer);
    const answers = Array.from({ length: 200 }, () => writer.message('', Buffer.alloc(1_000)));
    assert.equal(answers.at(-1), false);
    assert.equal(near.writableNeedDrain, true);
  });

  test('what waits when the connection is destroyed is forgotten without a word', async (context) => {
    const { near } = await pair(context);
    const writer = new SocketWriter(near);
    const errors: Error[] = [];
    near.on('error', (error) => errors.push(error));
    fill(writer);
    near.destroy();
    await once(near, 'close');
    assert.deepEqual(errors, []);
  });
});

/** Whether this Node wants a request for each write; where it does not, TLS is left to the stream. */
async function wantsRequests(context: TestContext): Promise<boolean> {
  const { near } = await pair(context);
  const { _handle: handle } = near as unknown as { readonly _handle: { writeLatin1String: (request: unknown, text: string) => unknown } };
  const write = context.mock.method(handle, 'writeLatin1String');
  near.write('text', 'latin1');
  return write.mock.calls[0]!.arguments[0] instanceof Object;
}

describe('writing past the stream of TLS', () => {
  /** A writer whose next message goes past the stream. */
  async function directWriter(near: Socket): Promise<SocketWriter> {
    const writer = new SocketWriter(near);
    writer.text('first ');
    await until(() => !writer.hasUnsent);
    return writer;
  }

  test('short messages do not pass through the stream, one at a time', async (context) => {
    if (!(await wantsRequests(context))) return context.skip('this Node makes requests of writes itself');
    const { near, far } = await acceptedPair(context);
    const writer = await directWriter(near);
    const write = context.mock.method(near, '_write');
    for (const number of [1, 2, 3]) {
      writer.text(`text ${number}\xe9 `);
      await until(() => !writer.hasUnsent);
      writer.message(`head ${number} `, Buffer.from('body '));
      await until(() => !writer.hasUnsent);
    }
    assert.equal(write.mock.callCount(), 0);
    near.end();
    assert.equal(await read(far), 'first text 1\xe9 head 1 body text 2\xe9 head 2 body text 3\xe9 head 3 body ');
  });

  test('what the stream is given before a message is done goes behind it', async (context) => {
    const { near, far } = await acceptedPair(context);
    const writer = await directWriter(near);
    writer.text('past the stream ');
    near.write('written ');
    writer.text('text ');
    near.cork();
    for (const part of ['corked ', 'and ', 'uncorked ']) near.write(part);
    near.uncork();
    writer.message('head ', Buffer.from('body '));
    near.end('end');
    assert.equal(await read(far), 'first past the stream written text corked and uncorked head body end');
  });

  test('an end right behind a message is told to the other side as TLS has it, and cuts nothing off', async (context) => {
    const records: Buffer[] = [];
    const relay = net.createServer({ allowHalfOpen: true }, (client) => {
      const server = net.connect({ port: portOf(tlsServer), host: '127.0.0.1', allowHalfOpen: true });
      client.pipe(server).pipe(client);
      server.on('data', (data) => records.push(data));
    });
    context.after(() => relay.close());
    await once(relay.listen(0, '127.0.0.1'), 'listening');
    const { near, far } = await acceptedPair(context, portOf(relay));
    const writer = await directWriter(near);
    const body = 'x'.repeat(16_000);
    assert.equal(writer.text(body), true);
    near.end();
    assert.equal(await read(far), `first ${body}`);
    // A close_notify of TLS 1.3: two bytes, their type and a tag (RFC 8446 sections 5.2 and 6.1).
    assert.deepEqual([...Buffer.concat(records).subarray(-24, -19)], [23, 3, 3, 0, 19]);
  });

  test('destroySoon waits for the message before it', async (context) => {
    const { near, far } = await acceptedPair(context);
    const writer = await directWriter(near);
    writer.text('last');
    near.destroySoon();
    const [text] = await Promise.all([read(far), once(near, 'close')]);
    assert.equal(text, 'first last');
  });

  test('a reader that reads nothing is told of: the stream asks for patience', async (context) => {
    const { near } = await acceptedPair(context);
    const writer = await directWriter(near);
    for (let turns = 0; !near.writableNeedDrain; turns++) {
      assert.ok(turns < 10_000, 'the kernel takes everything');
      writer.message('', Buffer.alloc(16_000));
      await new Promise(setImmediate);
    }
    assert.equal(writer.text('more'), false);
  });

  test('what waits when the connection is destroyed is forgotten without a word', async (context) => {
    const { near } = await acceptedPair(context);
    const writer = await directWriter(near);
    const errors: Error[] = [];
    near.on('error', (error) => errors.push(error));
    const told: (Error | null | undefined)[] = [];
    writer.text('past the stream');
    near.write('held', (error) => told.push(error));
    near.destroy();
    await once(near, 'close');
    await until(() => told.length > 0);
    assert.ok(told[0] instanceof Error, 'who wrote it hears that it did not arrive');
    assert.deepEqual(errors, []);
    assert.equal(writer.text('too late'), false);
  });

  for (const before of [0, 1, 2, 3]) {
    test(`a reset that only a write finds out about ends the connection, after ${before} messages past the stream`, async (context) => {
      const { near, below, reset } = await acceptedPair(context);
      const writer = await directWriter(near);
      for (let number = 0; number < before; number++) {
        writer.text('more ');
        await until(() => !writer.hasUnsent);
      }
      // Only a socket whose reads are lent stops to read when it is paused.
      lendReads(near, () => {});
      near.pause();
      const failed = once(near, 'error') as Promise<[NodeJS.ErrnoException]>;
      reset();
      await once(below, 'close');
      writer.text('lost');
      assert.match((await failed)[0].code!, /^(EPIPE|ECONNRESET)$/);
      assert.deepEqual([near.destroyed, writer.text('too late')], [true, false]);
    });
  }

  test('what waits when the other side resets the connection is told of it', async (context) => {
    if (!(await wantsRequests(context))) return context.skip('this Node makes requests of writes itself');
    const { near, reset } = await acceptedPair(context);
    const writer = await directWriter(near);
    near.on('error', () => {});
    do {
      writer.message('', Buffer.alloc(16_000));
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    } while (!writer.hasUnsent);
    assert.equal(near.writableLength, 0, 'a message past the stream is what the kernel does not take');
    const told = new Promise<Error | null | undefined>((resolve) => near.write('held', resolve));
    reset();
    assert.ok((await told) instanceof Error);
  });
});
