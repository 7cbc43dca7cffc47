import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { constants } from 'node:http2';
import { startEngine, type TestEngine } from '../support/engine.js';
import { fieldBlock, flag, frame, FramePeer, frameType, headers, requestFields } from '../support/http2-frames.js';
import { httpOrigin, type Origin } from '../support/origin.js';
import { caseLimits } from './request-cases.js';

/*
 * What the listener does with frames that no decent client sends. The outcome is an answer, a reset of the stream or the end of the
 * connection; never a request at the origin that is not the one that was sent, and never the end of the process.
 */

interface FrameCase {
  readonly name: string;
  /** Frames behind preface and SETTINGS. */
  readonly send: readonly Buffer[];
  /** What the client may get: a status, `reset` of the stream, or `closed` for GOAWAY and the end. */
  readonly outcome: readonly (number | 'reset' | 'closed')[];
  /** Requests that the origin saw; default: none. */
  readonly origin?: readonly string[];
}

const end = flag.endStream | flag.endHeaders;
const withFields = (changes: Readonly<Record<string, string | undefined>>): readonly Buffer[] => [headers(1, requestFields(changes))];
const pairs = (...fields: readonly (readonly [string, string])[]): readonly Buffer[] => [headers(1, fields)];
const post = (fields: Readonly<Record<string, string | undefined>>, data: string, flags: number = flag.endStream): readonly Buffer[] => [headers(1, requestFields({ ':method': 'POST', ...fields }), flag.endHeaders), frame(frameType.data, flags, 1, data)];
/** Node's library drops a field that is none, and the request goes on without it. */
const dropped = { outcome: [200, 400, 'reset', 'closed'], origin: ['GET / shop'] } as const;
const refused: FrameCase['outcome'] = [400, 'reset', 'closed'];

const cases: readonly FrameCase[] = [
  { name: 'a request as it should be', send: withFields({}), outcome: [200], origin: ['GET / shop'] },
  { name: 'no :method', send: withFields({ ':method': undefined }), outcome: refused },
  { name: 'no :path', send: withFields({ ':path': undefined }), outcome: refused },
  { name: 'no :scheme', send: withFields({ ':scheme': undefined }), outcome: refused },
  { name: 'an empty :path', send: withFields({ ':path': '' }), outcome: refused },
  { name: 'neither :authority nor Host', send: withFields({ ':authority': undefined }), outcome: refused },
  { name: 'an empty :authority', send: withFields({ ':authority': '' }), outcome: refused },
  { name: 'Host in place of :authority', send: withFields({ ':authority': undefined, host: 'Inventory' }), outcome: [200], origin: ['GET / inventory'] },
  { name: 'a Host that agrees with :authority', send: withFields({ host: 'SHOP' }), outcome: [200], origin: ['GET / shop'] },
  { name: 'a dot at the end of :authority', send: withFields({ ':authority': 'Shop.', host: 'shop.' }), outcome: [200], origin: ['GET / shop'] },
  { name: 'a Host that differs from :authority', send: withFields({ host: 'evil' }), outcome: refused },
  { name: 'two Hosts', send: pairs(...requestFields({ ':authority': undefined }), ['host', 'a'], ['host', 'b']), outcome: refused },
  { name: 'user information in :authority', send: withFields({ ':authority': 'me@shop' }), outcome: refused },
  { name: ':method twice', send: pairs(...requestFields(), [':method', 'POST']), outcome: refused },
  { name: ':path twice', send: pairs([':path', '/admin'], ...requestFields()), outcome: refused },
  { name: 'a pseudo-field behind a field', send: pairs([':method', 'GET'], ['x-a', '1'], [':path', '/'], [':scheme', 'http'], [':authority', 'shop']), outcome: refused },
  { name: 'a pseudo-field of responses', send: withFields({ ':status': '200' }), outcome: refused },
  { name: 'an unknown pseudo-field', send: withFields({ ':evil': '1' }), outcome: refused },
  { name: 'an upper-case name', send: withFields({ 'X-Upper': '1' }), outcome: refused },
  { name: 'a name with a space', send: withFields({ 'x y': '1' }), ...dropped },
  { name: 'a name with a colon', send: withFields({ 'x:y': '1' }), ...dropped },
  { name: 'an empty name', send: withFields({ '': '1' }), ...dropped },
  { name: 'a value with a line break', send: withFields({ 'x-a': 'b\r\nx-evil: 1' }), ...dropped },
  { name: 'a value with LF', send: withFields({ 'x-a': 'b\nc' }), ...dropped },
  { name: 'a value with NUL', send: withFields({ 'x-a': 'b\0c' }), ...dropped },
  { name: 'a :path with a line break', send: withFields({ ':path': '/ HTTP/1.1\r\nx: y' }), outcome: refused },
  { name: 'a :path with a space', send: withFields({ ':path': '/a b' }), outcome: refused },
  { name: 'an absolute :path', send: withFields({ ':path': 'http://evil/' }), outcome: refused },
  { name: 'a :path without its slash', send: withFields({ ':path': 'a' }), outcome: refused },
  { name: 'an asterisk for GET', send: withFields({ ':path': '*' }), outcome: refused },
  { name: 'an encoded slash', send: withFields({ ':path': '/a%2fb' }), outcome: refused },
  { name: 'a fragment', send: withFields({ ':path': '/a#b' }), outcome: refused },
  { name: 'a path with dots', send: withFields({ ':path': '/a/../b' }), outcome: [200], origin: ['GET /b shop'] },
  { name: 'another scheme', send: withFields({ ':scheme': 'ftp' }), outcome: refused },
  { name: 'an unknown method', send: withFields({ ':method': 'BREW' }), outcome: refused },
  { name: 'a method with a space', send: withFields({ ':method': 'GET /admin HTTP/1.1' }), outcome: refused },
  { name: 'CONNECT', send: withFields({ ':method': 'CONNECT', ':path': undefined, ':scheme': undefined }), outcome: [405, 'reset'] },
  { name: 'extended CONNECT, which was not offered', send: withFields({ ':method': 'CONNECT', ':protocol': 'websocket' }), outcome: refused },
  ...['connection', 'keep-alive', 'proxy-connection', 'upgrade'].map((name): FrameCase => ({ name: `the field ${name}`, send: withFields({ [name]: 'x' }), outcome: refused })),
  { name: 'Transfer-Encoding', send: post({ 'transfer-encoding': 'chunked' }, '0\r\n\r\n'), outcome: refused },
  { name: 'TE with something other than trailers', send: withFields({ te: 'gzip' }), outcome: refused },
  { name: 'a length that is none', send: post({ 'content-length': 'x' }, 'hello'), outcome: refused },
  { name: 'two lengths', send: [headers(1, [...requestFields({ ':method': 'POST' }), ['content-length', '5'], ['content-length', '6']], flag.endHeaders), frame(frameType.data, flag.endStream, 1, 'hello')], outcome: refused },
  { name: 'fewer data than the length says', send: post({ 'content-length': '9' }, 'hello'), outcome: ['reset'] },
  // RFC 9113 section 5.4.1 lets a server take an error of a stream for one of the connection, and the nghttp2 of Node 26 does.
  { name: 'more data than the length says', send: post({ 'content-length': '3' }, 'hello'), outcome: ['reset', 'closed'] },
  { name: 'a length without any data', send: withFields({ ':method': 'POST', 'content-length': '5' }), outcome: ['reset'] },
  { name: 'data as the length says', send: post({ 'content-length': '5' }, 'hello'), outcome: [200], origin: ['POST / shop hello'] },
  { name: 'an unknown expectation', send: withFields({ expect: 'magic' }), outcome: [417] },
  { name: 'a target that is too long', send: withFields({ ':path': `/${'a'.repeat(1_100)}` }), outcome: [414] },
  { name: 'a head that is too large', send: withFields({ 'x-a': 'a'.repeat(5_000) }), outcome: [431] },
  { name: 'a head that is much too large', send: withFields({ 'x-a': 'a'.repeat(12_000) }), outcome: [431, 'reset', 'closed'] },
  { name: 'too many fields', send: pairs(...requestFields(), ...Array.from({ length: 40 }, (_, index): [string, string] => [`x-${index}`, '1'])), outcome: [431] },
  { name: 'far too many fields', send: pairs(...requestFields(), ...Array.from({ length: 400 }, (): [string, string] => ['x', '1'])), outcome: ['reset', 'closed'] },
  { name: 'pseudo-fields in trailers', send: [...post({}, 'hello', 0), headers(1, [[':path', '/admin']])], outcome: ['reset', 'closed'] },
  { name: 'HEADERS on stream 0', send: [headers(0, requestFields())], outcome: ['closed'] },
  { name: 'HEADERS on a stream of ours', send: [headers(2, requestFields())], outcome: ['closed'] },
  { name: 'DATA on a stream that was never opened', send: [frame(frameType.data, 0, 1, 'x')], outcome: ['closed'] },
  { name: 'DATA behind the end of its stream', send: [headers(1, requestFields({ ':path': '/slow' })), frame(frameType.data, 0, 1, 'x')], outcome: ['reset', 'closed'], origin: ['GET /slow shop'] },
  { name: 'DATA amid a field block', send: [frame(frameType.headers, flag.endStream, 1, fieldBlock(requestFields()).subarray(0, 10)), frame(frameType.data, 0, 1, 'x')], outcome: ['closed'] },
  { name: 'a CONTINUATION without a beginning', send: [frame(frameType.continuation, flag.endHeaders, 1, fieldBlock(requestFields()))], outcome: ['closed'] },
  { name: 'a field block that is no HPACK', send: [frame(frameType.headers, end, 1, Buffer.alloc(8, 0xff))], outcome: ['closed'] },
  { name: 'padding longer than its frame', send: [frame(frameType.headers, end | flag.padded, 1, Buffer.from([255, 0]))], outcome: ['closed'] },
  { name: 'a frame larger than was agreed', send: [frame(frameType.data, 0, 1, Buffer.alloc(20_000))], outcome: ['closed'] },
  { name: 'a RST_STREAM of a wrong size', send: [headers(1, requestFields({ ':path': '/slow' })), frame(frameType.reset, 0, 1, 'xx')], outcome: ['closed'], origin: ['GET /slow shop'] },
  { name: 'a WINDOW_UPDATE of zero', send: [frame(frameType.windowUpdate, 0, 0, Buffer.alloc(4))], outcome: ['closed'] },
  { name: 'a window that overflows', send: [frame(frameType.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])), frame(frameType.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))], outcome: ['closed'] },
  { name: 'SETTINGS of a wrong size', send: [frame(frameType.settings, 0, 0, 'xxx')], outcome: ['closed'] },
  { name: 'SETTINGS with too many entries', send: [frame(frameType.settings, 0, 0, Buffer.alloc(6 * 100, Buffer.from([0, 99, 0, 0, 0, 1])))], outcome: ['closed'] },
  { name: 'a PUSH_PROMISE', send: [frame(frameType.push, flag.endHeaders, 1, Buffer.alloc(8))], outcome: ['closed'] },
  { name: 'a stream that depends on itself', send: [frame(frameType.headers, end | flag.priority, 1, Buffer.concat([Buffer.from([0, 0, 0, 1, 16]), fieldBlock(requestFields())]))], outcome: [200, 'reset', 'closed'], origin: ['GET / shop'] },
];

describe('what the listener does with a client’s frames', () => {
  let origin: Origin;
  let engine: TestEngine;
  let seen: string[] = [];
  const floods: string[] = [];

  before(async () => {
    origin = await httpOrigin((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${request.headers.host} ${unexpected(request.rawHeaders)}${Buffer.concat(chunks).toString()}`.trim());
        if (request.url === '/slow') setTimeout(() => response.end('slow'), 50);
        else response.end('answer');
      });
      request.on('error', () => {});
    });
    engine = await startEngine([origin.address], { listen: { http2: 'engine' }, limits: caseLimits, onFlood: (reason) => floods.push(reason) });
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  /** What became of stream 1, or of the connection. */
  async function outcomeOf(peer: FramePeer): Promise<number | 'reset' | 'closed'> {
    try {
      const found = await peer.until(({ type, stream, payload }) => (stream === 1 && (type === frameType.headers || type === frameType.reset)) || (type === frameType.goaway && payload.readUInt32BE(4) !== 0));
      if (found.type === frameType.goaway) return 'closed';
      return found.type === frameType.reset ? 'reset' : statusIn(found.payload);
    } catch {
      return 'closed';
    }
  }

  for (const { name, send, outcome, origin: expected = [] } of cases) {
    test(`${typeof outcome[0] === 'number' && outcome[0] < 400 ? 'takes' : outcome.includes(200) ? 'drops or refuses' : 'refuses'} ${name}`, async () => {
      seen = [];
      const peer = await FramePeer.connect(engine.port);
      peer.send(...send);
      const actual = await outcomeOf(peer);
      assert.ok(outcome.includes(actual), `${actual} instead of ${outcome.join(' or ')}`);
      peer.close();
      // Whatever was on its way to the origin has arrived when a request behind it is answered.
      const next = await FramePeer.connect(engine.port);
      next.send(headers(1, requestFields({ ':path': '/next' })));
      assert.equal(await outcomeOf(next), 200);
      next.close();
      seen = seen.filter((line) => !line.startsWith('GET /next'));
      assert.ok(seen.every((line) => expected.includes(line)), `the origin saw ${seen.join(', ')}`);
    });
  }

  const requests = (count: number, each: (stream: number) => Buffer[]): Buffer[] => Array.from({ length: count }, (_, index) => each(2 * index + 1)).flat();

  test('a flood of CONTINUATION frames ends the connection', async () => {
    seen = [];
    const peer = await FramePeer.connect(engine.port);
    peer.send(frame(frameType.headers, flag.endStream, 1, fieldBlock(requestFields())), ...Array.from({ length: 1_000 }, () => frame(frameType.continuation, 0, 1, fieldBlock([['x', 'y']]))));
    await peer.untilClosed();
    assert.deepEqual(seen, []);
  });

  const cancel = Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL]);
  /** `isTold`: the last frame says why. From within the reading of a frame that is wrong the library says nothing, or something else. */
  const takenBack: readonly (readonly [name: string, isTold: boolean, request: (stream: number) => Buffer[]])[] = [
    ['by resets (Rapid Reset, CVE-2023-44487)', true, (stream) => [headers(stream, requestFields({ ':path': '/slow' })), frame(frameType.reset, 0, stream, cancel)]],
    ['by data that make us reset them (MadeYouReset, CVE-2025-8671)', false, (stream) => [headers(stream, requestFields({ ':path': '/slow', ':method': 'POST', 'content-length': '1' }), flag.endHeaders), frame(frameType.data, 0, stream, 'too long')]],
  ];
  for (const [name, isTold, request] of takenBack) {
    test(`requests that are taken back one after the other end the connection, and little of them goes upstream: ${name}`, async () => {
      const own = await startEngine([origin.address], { listen: { http2: 'engine' }, limits: { http2: { maxConcurrentStreams: 100, streamIdleTimeout: 0, resetBurst: 50, resetsPerSecond: 1, controlFrameBurst: 100, controlFramesPerSecond: 1 } }, onFlood: (reason) => floods.push(reason) });
      const peer = await FramePeer.connect(own.port);
      for (let batch = 0; batch < 20 && !peer.isClosed; batch++) {
        peer.send(...requests(50, (stream) => request(stream + 100 * batch)));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await peer.untilClosed();
      const goaway = peer.frames.find(({ type }) => type === frameType.goaway);
      if (isTold) assert.equal(goaway?.payload.readUInt32BE(4), constants.NGHTTP2_ENHANCE_YOUR_CALM);
      assert.ok(own.finished.length <= 150, `${own.finished.length} requests were begun`);
      // Later versions of the library end the connection at the first such frame, before anything is begun.
      assert.deepEqual(floods.splice(0), isTold || own.finished.length > 0 ? ['resets'] : []);
      await own.close();
    });
  }

  test('floods of PING and SETTINGS end the connection', async () => {
    for (const flooded of [frame(frameType.ping, 0, 0, Buffer.alloc(8)), frame(frameType.settings, 0, 0)]) {
      const peer = await FramePeer.connect(engine.port);
      for (let batch = 0; batch < 50 && !peer.isClosed; batch++) {
        peer.send(...Array.from({ length: 100 }, () => flooded));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await peer.untilClosed();
    }
    assert.deepEqual(floods.splice(0), ['control_frames', 'control_frames']);
  });

  test('streams beyond those that were agreed are refused, and can be sent again', async () => {
    const own = await startEngine([origin.address], { listen: { http2: 'engine' }, limits: { http2: { maxConcurrentStreams: 2, streamIdleTimeout: 0, resetBurst: 50, resetsPerSecond: 1, controlFrameBurst: 100, controlFramesPerSecond: 1 } } });
    const peer = await FramePeer.connect(own.port);
    const settings = await peer.until(({ type }) => type === frameType.settings);
    assert.ok(settings.payload.includes(Buffer.from([0, 3, 0, 0, 0, 2])), 'the limit was not said');
    // Before it has acknowledged them a client cannot be expected to keep to them.
    peer.send(...requests(3, (stream) => [headers(stream, requestFields({ ':path': '/slow' }))]));
    const reset = await peer.until(({ type, stream }) => type === frameType.reset && stream === 5);
    assert.equal(reset.payload.readUInt32BE(), constants.NGHTTP2_REFUSED_STREAM);
    await peer.until(({ type, stream }) => type === frameType.headers && stream === 3);
    peer.close();
    await own.close();
  });

  test('random bytes behind the preface harm nobody', async () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff);
    for (let round = 0; round < 200; round++) {
      const peer = await FramePeer.connect(engine.port);
      const noise = Buffer.from(Array.from({ length: 200 }, () => random() >> 16));
      peer.send(round % 2 === 0 ? noise : frame((random() >> 8) % 12, random() >> 16 & 0xff, (random() >> 8) % 4, noise.subarray(0, (random() >> 8) % 200)));
      await new Promise((resolve) => setImmediate(resolve));
      peer.close();
    }
    const peer = await FramePeer.connect(engine.port);
    peer.send(headers(1, requestFields()));
    assert.equal(await outcomeOf(peer), 200);
    peer.close();
  });
});

/** What an origin must never see: the names of fields that were none, or came out of the value of another. */
function unexpected(raw: readonly string[]): string {
  return raw.filter((name, index) => index % 2 === 0 && /evil|[ :]|^$|^x-a$/.test(name)).join(' ');
}

/** The status in a field block: an entry of the static table, or a literal with an indexed name, perhaps in Huffman code. */
function statusIn(block: Buffer): number {
  const indexed = [200, 204, 206, 304, 400, 404, 500][block[0]! - 0x88];
  if (indexed !== undefined) return indexed;
  const length = block[1]! & 0x7f;
  const text = block.subarray(2, 2 + length);
  if ((block[1]! & 0x80) === 0) return Number(text.toString());
  // Digits 0, 1 and 2 take five bits (their own value); 3 to 9 six (0x19 to 0x1f).
  let digits = '';
  let bits = [...text].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  while (digits.length < 3) {
    const short = parseInt(bits.slice(0, 5), 2);
    digits += String(short < 3 ? short : parseInt(bits.slice(0, 6), 2) - 0x19 + 3);
    bits = bits.slice(short < 3 ? 5 : 6);
  }
  return Number(digits);
}
