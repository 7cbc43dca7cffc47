import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { describe, test, type TestContext } from 'node:test';
import { Pipe } from '../../tests/support/pipe.js';
import { FakeClock } from '../clock/fake-clock.js';
import { DescriptorWriter } from './descriptor-writer.js';

const skip = process.platform === 'linux' ? false : 'there is no such pipe';

function writerTo(context: TestContext, maxWaitingBytes = 1 << 20): { readonly pipe: Pipe; readonly clock: FakeClock; readonly writer: DescriptorWriter } {
  const [pipe, clock] = [new Pipe(), new FakeClock()];
  context.after(() => pipe.close());
  return { pipe, clock, writer: new DescriptorWriter(pipe.fd, { clock, maxWaitingBytes }) };
}

describe('a pipe that nobody reads', { skip }, () => {
  test('is waited for by nobody, and gets everything in order when it is read', async (context) => {
    const { pipe, clock, writer } = writerTo(context);
    const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}\n`);
    for (const line of lines) assert.ok(writer.write(Buffer.from(line)));
    let read = '';
    for (let piece = pipe.read(); piece !== ''; piece = pipe.read()) {
      read += piece;
      await clock.advance(10);
    }
    assert.equal(read, lines.join(''));
    writer.close();
  });

  test('loses what is beyond the limit, and what comes when there is room again is taken', async (context) => {
    const { pipe, clock, writer } = writerTo(context, 100);
    pipe.fill();
    assert.deepEqual([90, 20, 10, 1].map((size) => writer.write(Buffer.alloc(size, 'x'))), [true, false, true, false]);
    pipe.read();
    await clock.advance(10);
    assert.equal(pipe.read(), 'x'.repeat(100));
    assert.ok(writer.write(Buffer.from('again')));
    assert.equal(pipe.read(), 'again');
    writer.close();
  });

  test('is given up when it closes', (context) => {
    const { pipe, writer } = writerTo(context);
    pipe.fill();
    writer.write(Buffer.from('x'));
    writer.close();
    assert.equal(writer.write(Buffer.from('y')), false);
    assert.match(pipe.read(), /^\.+$/);
  });
});

test('a reader that keeps up gets all that is left when it closes', { skip }, async (context) => {
  const { pipe, writer } = writerTo(context);
  pipe.fill();
  const filled = pipe.read().length;
  const file = openSync(`${pipe.path}.read`, 'w');
  const reader = spawn('head', ['-c', String(filled * 4), pipe.path], { stdio: ['ignore', file, 'inherit'] });
  context.after(() => reader.kill());
  closeSync(file);
  for (let count = 0; count < 4; count++) writer.write(Buffer.alloc(filled, String(count)));
  await once(reader, 'spawn');
  writer.close();
  await once(reader, 'exit');
  assert.equal(readFileSync(`${pipe.path}.read`, 'latin1'), [0, 1, 2, 3].map((count) => String(count).repeat(filled)).join(''));
});

for (const isAside of [false, true]) {
  test(`a disk that is full is no error, and is given up at the end: ${isAside ? 'written aside' : 'written at once'}`, { skip }, async () => {
    const fd = openSync('/dev/full', 'w');
    const writer = new DescriptorWriter(fd, { clock: new FakeClock(), maxWaitingBytes: 10, isAside });
    assert.deepEqual([writer.write(Buffer.from('12345')), writer.write(Buffer.from('12345')), writer.write(Buffer.from('6'))], [true, true, false]);
    writer.close();
    closeSync(fd);
  });
}
