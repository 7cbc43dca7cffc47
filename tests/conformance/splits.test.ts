import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { ChunkedDecoder } from '../../shared/http1/chunked-decoder.js';
import { HeadLines, scanHead } from '../../shared/http1/head.js';
import { wordsOf } from '../../shared/http1/read-buffer.js';
import { parseRequestHead } from '../../shared/http1/request-head.js';
import { startEngine, type TestEngine } from '../support/engine.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../support/origin.js';
import { RawClient } from '../support/raw-client.js';
import { generateCase, randomFrom } from './generate-case.js';
import { responseCases } from './response-cases.js';

/* However the same bytes are cut into segments, the result is the same. */

const seeds = fc.integer({ min: 0, max: 2 ** 31 });
/** Where to cut, as shares of the length. */
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 });

function split(bytes: Buffer, shares: readonly number[]): Buffer[] {
  const at = [...new Set([0, ...shares.map((share) => Math.floor(share * bytes.length)), bytes.length])].sort((a, b) => a - b);
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end)).filter((piece) => piece.length > 0);
}

const attempt = <T>(run: () => T): T | string => {
  try {
    return run();
  } catch (error) {
    return (error as Error).message;
  }
};

test('a head ends where it ends, and is refused for what it is refused for', () => {
  fc.assert(
    fc.property(seeds, cuts, (seed, shares) => {
      const bytes = Buffer.from(generateCase(randomFrom(seed)), 'latin1');
      const whole = attempt(() => scanHead(bytes, wordsOf(bytes), 0, 0, new HeadLines()));
      let scanned = 0;
      let inPieces: number | string = -1;
      for (const piece of split(bytes, shares)) {
        const known = bytes.subarray(0, scanned + piece.length);
        inPieces = attempt(() => scanHead(known, wordsOf(known), 0, scanned, new HeadLines()));
        if (inPieces !== -1) break;
        scanned = known.length;
      }
      assert.equal(inPieces, whole);
    }),
    { seed: 1, numRuns: 5_000 },
  );
});

test('a head is parsed alike whether its lines are known or looked for', () => {
  const limits = { maxHeaders: 100, maxTargetBytes: 8_192 };
  const read = (data: Buffer, start: number, end: number, lines?: HeadLines): unknown =>
    attempt(() => {
      const { headers, ...rest } = parseRequestHead(data, start, end, limits, lines);
      return { ...rest, fields: [...headers] };
    });
  fc.assert(
    fc.property(seeds, fc.nat(30), (seed, start) => {
      const bytes = Buffer.from(`${' '.repeat(start)}${generateCase(randomFrom(seed))}`, 'latin1');
      const lines = new HeadLines();
      const end = attempt(() => scanHead(bytes, wordsOf(bytes), start, start, lines));
      if (typeof end === 'number' && end !== -1) assert.deepEqual(read(bytes, start, end, lines), read(bytes, start, end));
    }),
    { seed: 3, numRuns: 5_000 },
  );
});

test('of a head with more lines than are noted, or that was scanned in pieces, none are known', () => {
  for (const [count, scanned, known] of [[127, 0, 128], [128, 0, 0], [10, 5, 0]] as const) {
    const bytes = Buffer.from(`GET / HTTP/1.1\r\n${'X: 1\r\n'.repeat(count)}\r\n`);
    const lines = new HeadLines();
    assert.equal(scanHead(bytes, wordsOf(bytes), 0, scanned, lines), bytes.length);
    assert.equal(lines.count, known);
  }
});

test('chunks give the same bytes, the same trailers and the same error', () => {
  const decode = (pieces: readonly Buffer[]): unknown => {
    const decoder = new ChunkedDecoder();
    const out: Buffer[] = [];
    let consumed = 0;
    const failure = attempt(() => {
      for (const piece of pieces) {
        if (decoder.done) break;
        consumed += decoder.decode(Buffer.from(piece), 0, (chunk) => out.push(Buffer.from(chunk)));
      }
      return '';
    });
    return { failure, done: decoder.done, trailers: decoder.trailers?.toObject(), body: Buffer.concat(out).toString('latin1'), consumed: failure === '' ? consumed : 0 };
  };
  const piece = fc.constantFrom('5\r\nhello\r\n', '0\r\n\r\n', '0\r\nX: 1\r\n\r\n', 'a;x="y"\r\n0123456789\r\n', '5\r\nhel', '\r\n', '\n', 'xyz\r\n', '00\r\n', '3;\r\n', 'GET / HTTP/1.1\r\n\r\n');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), cuts, (parts, shares) => {
      const bytes = Buffer.from(parts.join(''), 'latin1');
      const [whole, pieces] = [decode([bytes]), decode(split(bytes, shares))] as [{ failure: string; body: string }, { failure: string; body: string }];
      // An error stops a decoder where it is; how much it had handed on by then depends on the segments, but is never more.
      if (whole.failure !== '') {
        assert.equal(pieces.failure, whole.failure);
        assert.ok(pieces.body.startsWith(whole.body) || whole.body.startsWith(pieces.body));
      } else {
        assert.deepEqual(pieces, whole);
      }
    }),
    { seed: 2, numRuns: 5_000 },
  );
});

/** Sends pieces one after the other, each in a segment of its own as far as the system lets it. */
async function sendPieces(port: number, pieces: readonly Buffer[]): Promise<string> {
  const client = await RawClient.connect(port, { allowHalfOpen: true });
  for (const piece of pieces) {
    client.send(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  // A client that ends before its answer has begun is not waited for long: only a request that is incomplete needs to hear of it.
  client.socket.once('end', () => client.socket.end());
  const timer = setTimeout(() => client.socket.end(), 100);
  const answer = await client.untilClosed();
  clearTimeout(timer);
  return answer;
}

const sentinel = 'GET /end HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';

describe('over sockets', () => {
  let origin: Origin;
  let engine: TestEngine;
  let seen: string[] = [];
  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      const body = await readBody(request).catch(() => undefined);
      if (body !== undefined) seen.push(`${request.method} ${request.url} ${JSON.stringify(request.rawHeaders)} ${body}`);
      response.end('answer');
    });
    engine = await startEngine([origin.address], { limits: { upgrades: [] } });
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  test('requests are answered, refused and forwarded alike', async () => {
    const run = async (pieces: readonly Buffer[]): Promise<unknown> => {
      seen = [];
      const answer = await sendPieces(engine.port, pieces);
      return { answers: answer.replace(/Date: [^\r]*\r\n/g, '').replace(/HTTP\/1\.1 100 Continue\r\n\r\n/g, ''), seen: seen.map((line) => line.replace(/"Expect","100-continue",?/i, '')) };
    };
    await fc.assert(
      fc.asyncProperty(seeds, cuts, async (seed, shares) => {
        const text = generateCase(randomFrom(seed));
        // Whether an expectation still stands depends on when the body comes; that is not about parsing.
        if (/expect/i.test(text)) return;
        const bytes = Buffer.from(text + sentinel, 'latin1');
        assert.deepEqual(await run(split(bytes, shares)), await run([bytes]));
      }),
      { seed: 3, numRuns: 400 },
    );
  });

  test('answers are passed on, or become errors, alike', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...responseCases.filter(({ send }) => send.length < 1_000)), cuts, async ({ send, method = 'GET' }, shares) => {
        const run = async (pieces: readonly Buffer[]): Promise<string> => {
          const upstream = await tcpOrigin((socket) => {
            socket.once('data', () => {
              void (async () => {
                for (const piece of pieces) {
                  socket.write(piece);
                  await new Promise((resolve) => setImmediate(resolve));
                }
                socket.end();
              })();
            });
          });
          const own = await startEngine([upstream.address]);
          const client = await RawClient.connect(own.port);
          const answer = await client.send(`${method} / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`).untilClosed();
          await own.close();
          await upstream.close();
          // Answers that came without a date have got one.
          return payload(answer.replace(/^Date: .*\r\n/m, ''));
        };
        const bytes = Buffer.from(send, 'latin1');
        assert.equal(await run(split(bytes, shares)), await run([bytes]));
      }),
      { seed: 4, numRuns: 150 },
    );
  });
});

/** An answer with its chunks joined: where they are cut is the wire's affair. An answer that broke off shows as such. */
function payload(answer: string): string {
  const start = answer.search(/HTTP\/1\.1 [2-5]/);
  const end = answer.indexOf('\r\n\r\n', start) + 4;
  const head = answer.slice(0, end);
  if (!/transfer-encoding: chunked/i.test(head)) return answer;
  const body = answer.slice(end).replace(/[0-9a-f]+\r\n([^\r]*)\r\n/gi, '$1');
  return `${head}${body}${answer.endsWith('0\r\n\r\n') ? ' (whole)' : ' (cut off)'}`;
}
