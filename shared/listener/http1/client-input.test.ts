import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, test, type TestContext } from 'node:test';
import { until } from '../../../tests/support/until.js';
import { ClientInput } from './client-input.js';

describe('what a client has sent', () => {
  const server = createServer({ noDelay: true });
  before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
  after(() => void server.close());

  interface Client {
    readonly input: ClientInput;
    readonly accepted: Socket;
    readonly send: (text: string) => void;
    /** What was read, each time, and how much of it had been seen before. */
    readonly reads: [text: string, scanned: number][];
  }

  /** A client, and the input of its connection, which `read` reads. */
  async function client(context: TestContext, read: (client: Client, data: Buffer) => void): Promise<Client> {
    const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', noDelay: true });
    const [accepted] = (await once(server, 'connection')) as [Socket];
    context.after(() => [socket, accepted].forEach((one) => one.destroy()));
    const input = new ClientInput(accepted, (data, scanned) => {
      made.reads.push([data.toString(), scanned]);
      read(made, data);
    });
    const made: Client = { input, accepted, send: (text) => void socket.write(text), reads: [] };
    return made;
  }

  test('is read again with what follows, as long as it is held', async (context) => {
    const { input, send, reads } = await client(context, ({ input: it, reads: all }, data) => {
      if (all.length < 3) it.hold(data, all.length === 1 ? 1 : 0, true);
    });
    for (const [count, text] of [[1, '-ab'], [2, 'cd'], [3, 'ef'], [4, 'gh']] as const) {
      send(text);
      await until(() => reads.length === count);
      assert.equal(input.isEmpty, count > 2);
    }
    assert.deepEqual(reads, [['-ab', 0], ['abcd', 2], ['abcdef', 4], ['gh', 0]]);
  });

  test('is looked at from its beginning if it was only held', async (context) => {
    const { send, reads } = await client(context, ({ input: it, reads: all }, data) => {
      if (all.length === 1) it.hold(data, 0, false);
    });
    send('ab');
    await until(() => reads.length === 1);
    send('cd');
    await until(() => reads.length === 2);
    assert.deepEqual(reads, [['ab', 0], ['abcd', 0]]);
  });

  test('is not overwritten by what another client sends', async (context) => {
    const held = await client(context, ({ input }, data) => void input.hold(data, 0, true));
    let owned: Buffer | undefined;
    const owner = await client(context, ({ input }, data) => (owned = input.own(data, 2)));
    const other = await client(context, () => {});
    held.send('held');
    owner.send('--owned');
    await until(() => held.reads.length + owner.reads.length === 2);
    other.send('something else of some length');
    await until(() => other.reads.length === 1);
    assert.deepEqual([String(held.input.take()), String(owned), held.input.isEmpty], ['held', 'owned', true]);
  });

  test('comes in order when some of it comes while other is read', async (context) => {
    // TLS does so: a write of ours makes it look for what has come.
    const { send, reads } = await client(context, ({ accepted, reads: all }) => {
      if (all.length > 1) return;
      accepted.emit('data', Buffer.from('second '));
      accepted.emit('data', Buffer.from('third'));
      assert.equal(all.length, 1, 'one thing is read at a time');
    });
    send('first');
    await until(() => reads.length === 2);
    assert.deepEqual(reads, [['first', 0], ['second third', 0]]);
  });

  test('waits behind what is to be read in a turn of its own', async (context) => {
    const { accepted, input, send, reads } = await client(context, ({ input: it, reads: all }, data) => {
      if (all.length === 1) it.hold(data, 0, true);
    });
    send('held ');
    await until(() => reads.length === 1);
    const turn = new Promise<void>((resolve) => input.defer(resolve));
    accepted.emit('data', Buffer.from('more'));
    assert.deepEqual([input.isDeferred, reads.length], [true, 1]);
    await turn;
    input.readHeld();
    assert.deepEqual([input.isDeferred, input.isEmpty, reads[1]], [false, true, ['held more', 0]]);
    input.readHeld();
    assert.equal(reads.length, 2, 'nothing is left');
  });
});
