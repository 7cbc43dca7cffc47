import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, test, type TestContext } from 'node:test';
import { seeded } from '../../tests/support/seeded.js';
import { SocketWriter } from './socket-writer.js';

const server = createServer({ allowHalfOpen: true });
before(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
after(() => server.close());

/** A connection: our end, and the far one, which reads nothing until it is told to. */
async function pair(context: TestContext): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const far = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [[near]] = await Promise.all([accepted, once(far, 'connect')]);
  context.after(() => {
    near.destroy();
    far.destroy();
  });
  return { near, far };
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

describe('writing to a socket', () => {
  test('the first messages, and all others, arrive as they were written', async (context) => {
    const { near, far } = await pair(context);
    const writer = new SocketWriter(near);
    for (let i = 0; i < 3; i++) {
      assert.equal(writer.text(`head ${i}\xe9 `), true);
      assert.equal(writer.message(`head ${i} `, Buffer.from([0, 255])), true);
      assert.equal(writer.message('alone ', Buffer.alloc(0)), true);
    }
    near.end();
    assert.equal(await read(far), [0, 1, 2].map((i) => `head ${i}\xe9 head ${i} \x00\xffalone `).join(''));
  });

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

  test('what waits in the stream goes first', async (context) => {
    const { near, far } = await pair(context);
    const writer = new SocketWriter(near);
    writer.text('first ');
    const large = ['a', 'b'].map((letter) => letter.repeat(8 * 1_024 * 1_024));
    for (const text of large) near.write(text);
    writer.text('last');
    near.end();
    assert.equal((await read(far)) === `first ${large.join('')}last`, true);
  });

  test('a reader that reads nothing is told of: the stream asks for patience', async (context) => {
    const { near } = await pair(context);
    const writer = new SocketWriter(near);
    fill(writer);
    const answers = Array.from({ length: 200 }, () => writer.message('', Buffer.alloc(1_000)));
    assert.equal(answers.at(-1), false);
    assert.equal(near.writableNeedDrain, true);
  });

  test('messages of any length keep their order, however the other side reads', async (context) => {
    const random = seeded(7);
    const { near, far } = await pair(context);
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

  test('a connection that the other side has reset ends with an error, and no write throws', async (context) => {
    const { near, far } = await pair(context);
    const writer = new SocketWriter(near);
    writer.text('first');
    near.pause();
    const failed = once(near, 'error') as Promise<[NodeJS.ErrnoException]>;
    const closed = new Promise<void>((resolve) => near.on('close', () => resolve()));
    far.resetAndDestroy();
    await once(far, 'close');
    while (!near.destroyed) {
      writer.text('more');
      await new Promise(setImmediate);
    }
    assert.match((await failed)[0].code!, /^(EPIPE|ECONNRESET)$/);
    await closed;
    assert.equal(writer.text('too late'), false);
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
