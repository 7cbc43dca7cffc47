import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../tests/support/engine.js';
import { tcpOrigin } from '../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';

const rounds = 30;
const part = Buffer.alloc(65_536, 'x');

let authority: TestAuthority;
let pair: KeyPairFiles;
before(async () => {
  authority = await TestAuthority.create();
  pair = await authority.issue('origin', { ip: ['127.0.0.1'] });
});
after(() => authority.remove());

/** Goes on sending a body that never ends, as long as there is a connection. */
function upload(client: RawClient): void {
  const { socket } = client;
  const send = (): void => {
    while (!socket.destroyed && socket.write(part));
  };
  socket.on('drain', send);
  client.send(`POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: ${2 ** 40}\r\n\r\n`);
  send();
}

/** An upstream that says its answer in the middle of the upload, reads no more, and resets the connection. */
async function answerAndReset(answer: string, isTls: boolean): Promise<{ readonly engine: TestEngine; readonly close: () => Promise<void> }> {
  const origin = await tcpOrigin((raw: Socket) => {
    const socket = isTls ? new TLSSocket(raw, { isServer: true, cert: readFileSync(pair.cert), key: readFileSync(pair.key) }) : raw;
    socket.on('error', () => {});
    socket.once('data', () => {
      raw.pause();
      socket.write(answer, () => raw.resetAndDestroy());
    });
  });
  const engine = await startEngine([origin.address], {
    limits: { maxBodyBytes: 2 ** 41 },
    ...(isTls && { upstream: { tls: { ca: authority.ca } as never } }),
  });
  return {
    engine,
    close: async () => {
      await engine.close();
      await origin.close();
    },
  };
}

for (const isTls of [false, true]) {
  describe(`an upstream that answers in the middle of a body, and resets${isTls ? ' (TLS)' : ''}`, () => {
    test('is heard: what it said is worth more than that it takes no more', async () => {
      const { engine, close } = await answerAndReset('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nbig!', isTls);
      for (let round = 1; round <= rounds; round++) {
        const client = await RawClient.connect(engine.port);
        upload(client);
        assert.match(await client.until((text) => text.includes('\r\n\r\n')), /^HTTP\/1\.1 413 /);
        client.close();
        assert.equal((await engine.untilFinished(round))[round - 1]!.errorCode, undefined);
      }
      await close();
    });

    for (const [name, answer] of [
      ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'],
      ['no length', 'HTTP/1.1 200 OK\r\n\r\npart'],
    ] as const) {
      test(`has not ended an answer of ${name} by that`, async () => {
        const { engine, close } = await answerAndReset(answer, isTls);
        for (let round = 1; round <= rounds; round++) {
          const client = await RawClient.connect(engine.port);
          upload(client);
          const answered = await client.untilClosed();
          assert.doesNotMatch(answered, /\r\n0\r\n/);
          const { errorCode } = (await engine.untilFinished(round))[round - 1]!;
          assert.ok(errorCode === 'upstream_truncated' || errorCode === 'upstream_reset', errorCode);
        }
        await close();
      });
    }

    test('has not ended an answer by that when nothing was being sent either', async () => {
      const { engine, close } = await answerAndReset('HTTP/1.1 200 OK\r\n\r\npart', isTls);
      for (let round = 1; round <= rounds; round++) {
        assert.doesNotMatch(await exchangeRaw(engine.port, 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n'), /\r\n0\r\n/);
        assert.match((await engine.untilFinished(round))[round - 1]!.errorCode!, /^upstream_(?:truncated|reset)$/);
      }
      await close();
    });
  });
}
