import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { FastifyListener } from '../../shared/listener/fastify/fastify-listener.js';
import { Http1Listener } from '../../shared/listener/http1-listener.js';
import { startEngine, type TestEngine } from '../support/engine.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../support/origin.js';
import { exchangeRaw, RawClient } from '../support/raw-client.js';
import { caseLimits, requestCases, type RequestCase } from './request-cases.js';
import { responseCases } from './response-cases.js';

/** Where the Fastify listener differs, since Node's parser comes before it; each with the reason. */
const fastifyExceptions = new Map<string, string>([
  ['refuses two spaces before the target', 'Node’s parser skips further spaces; what goes on has one'],
  ['refuses two spaces before the version', 'Node’s parser skips further spaces; what goes on has one'],
  ['refuses a chunk size of 64 bits', 'Node’s parser takes it, and waits for the bytes; the limit of the body ends it'],
  ['refuses a chunk size of a hundred digits', 'Node’s parser skips leading zeros'],
  ...['HTTP/2 as a version', 'HTTP/1.2', 'HTTP/0.9', 'the preface of HTTP/2'].map((name): [string, string] => [`refuses ${name}`, 'Node’s server refuses it with 400, or closes the connection, before the stack sees it']),
  ['refuses trailers that are too many', 'Node’s server has no limit for trailers but that of the head'],
  ['forwards a body of GET', 'Fastify reads no body of GET: the request goes on without'],
  ['forwards a body that comes with 100-continue at once', 'Node’s server sends 100 by itself'],
  ['forwards trailers of an answer', 'the plugin passes no trailers on'],
  ['refuses no version', 'Node’s parser takes it for HTTP/0.9, and the answer is its own'],
]);

const statusesOf = (answer: string): number[] => [...answer.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));

/** The engine that speaks HTTP/2 too has to look at the first bytes of a connection, and must do the same with all others. */
const subjects = [
  { name: 'Http1Listener', kind: Http1Listener },
  { name: 'Http1Listener beside HTTP/2', kind: Http1Listener, listen: { http2: 'engine' } },
  { name: 'FastifyListener', kind: FastifyListener },
] as const;

/** Where HTTP/2 is spoken its preface is no malformed request. */
const http2Exceptions = new Map([['refuses the preface of HTTP/2', 'it is taken']]);

for (const { name, kind, ...options } of subjects) describe(`what ${name} does with a client’s bytes`, () => {
  let origin: Origin;
  let engine: TestEngine;
  let seen: { line: string; fields: string[] }[] = [];
  let settled: Promise<unknown>[] = [];

  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      const entry = { line: '', fields: [] as string[] };
      for (let index = 0; index < request.rawHeaders.length; index += 2) entry.fields.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
      const body = readBody(request);
      settled.push(body.catch(() => undefined));
      const text = await body.catch(() => undefined);
      // A request that broke off is none.
      if (text === undefined) return;
      const trailers = Object.keys(request.trailers).length === 0 ? '' : ` trailers ${JSON.stringify(request.trailers)}`;
      entry.line = `${request.method} ${request.url} ${text}${trailers}`;
      seen.push(entry);
      if (request.url === '/204') response.writeHead(204).end();
      else if (request.url === '/304') response.writeHead(304, { ETag: '"x"' }).end();
      else if (request.url === '/stream') {
        response.write('first,');
        setImmediate(() => response.end('second'));
      } else if (request.url === '/trailers') {
        response.writeHead(200, { Trailer: 'X-Sum' });
        response.write('data');
        response.addTrailers({ 'X-Sum': '42' });
        response.end();
      } else {
        if (request.url === '/103') response.writeEarlyHints({ link: '</a.css>; rel=preload' });
        response.end('answer');
      }
    });
    engine = await startEngine([origin.address], { limits: caseLimits, kind, ...options });
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  async function check(item: RequestCase, ask: (bytes: string) => Promise<string>): Promise<void> {
    seen = [];
    settled = [];
    const answer = await ask(item.send);
    assert.deepEqual(statusesOf(answer), item.statuses, answer);
    if (item.answer !== undefined) assert.match(answer, item.answer);
    await Promise.all(settled);
    assert.equal(seen.some(({ line }) => line.includes('/smuggled')), false, 'a request behind a refused one went through');
    if (item.origin !== undefined) assert.deepEqual(seen.map(({ line }) => line), item.origin);
    const fields = seen[0]?.fields ?? [];
    const names = fields.map((field) => field.slice(0, field.indexOf(':')).toLowerCase());
    for (const expected of item.fields ?? []) {
      if (expected.startsWith('!')) assert.equal(names.includes(expected.slice(1)), false, `${expected.slice(1)} went through`);
      else if (expected === expected.toLowerCase()) assert.ok(fields.some((field) => field.toLowerCase() === expected), `${expected} is missing among ${fields.join(', ')}`);
      else assert.ok(fields.includes(expected), `${expected} is missing among ${fields.join(', ')}`);
    }
    const wanted = (item.fields ?? []).filter((field) => fields.includes(field));
    assert.deepEqual(fields.filter((field) => wanted.includes(field)), wanted, 'the order changed');
  }

  const exceptions = kind === FastifyListener ? fastifyExceptions : 'listen' in options ? http2Exceptions : undefined;
  for (const item of requestCases) {
    const exception = exceptions?.get(item.name);
    test(item.name, exception === undefined ? {} : { skip: exception }, () => check(item, (bytes) => exchangeRaw(engine.port, bytes)));
  }

  test('does the same with every case when it comes in small pieces', async () => {
    for (const item of requestCases) {
      if (item.send.length > 3_000 || item.inOnePiece || exceptions?.has(item.name)) continue;
      await check(item, async (bytes) => {
        const client = await RawClient.connect(engine.port);
        for (let from = 0; from < bytes.length && !client.isClosed; from += 7) {
          client.send(bytes.slice(from, from + 7));
          await new Promise((resolve) => setImmediate(resolve));
        }
        return client.untilClosed();
      }).catch((error: unknown) => {
        throw new Error(`${item.name}, in pieces`, { cause: error });
      });
    }
  });

  test('the table is as long as it is meant to be', () => {
    assert.ok(requestCases.length + responseCases.length >= 200, `${requestCases.length} and ${responseCases.length} cases`);
    assert.equal(new Set(requestCases.map(({ name }) => name)).size, requestCases.length);
  });
});

describe('what a client gets for an upstream’s bytes', () => {
  for (const { name, send, method = 'GET', outcome } of responseCases) {
    test(`${typeof outcome === 'object' && 'status' in outcome ? 'passes on' : 'makes an error of'} ${name}`, async () => {
      const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end(Buffer.from(send, 'latin1'))));
      const engine = await startEngine([origin.address]);
      const answer = await exchangeRaw(engine.port, `${method} / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`);
      const body = answer.slice(answer.lastIndexOf('\r\n\r\n', answer.endsWith('0\r\n\r\n') ? answer.length - 6 : undefined) + 4);
      const final = answer.slice(answer.search(/HTTP\/1\.1 [2-5]/));
      if (outcome === 'truncated') {
        assert.match(answer, /half/);
        assert.doesNotMatch(answer, /\r\n0\r\n\r\n$/);
        assert.ok(['upstream_truncated', 'upstream_protocol'].includes((await engine.untilFinished(1))[0]!.errorCode!));
      } else if ('code' in outcome) {
        assert.match(final, /^HTTP\/1\.1 502 /);
        assert.ok(final.endsWith(outcome.code), final);
      } else {
        assert.ok(final.startsWith(`HTTP/1.1 ${outcome.status} `), answer);
        assert.equal(/transfer-encoding: chunked/i.test(final) ? decode(final) : body, outcome.body);
      }
      await engine.close();
      await origin.close();
    });
  }

  test('bytes behind an answer are never taken for the next one', async () => {
    let connections = 0;
    const origin = await tcpOrigin((socket) => {
      const number = ++connections;
      socket.on('data', () => {
        socket.write(number === 1 ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil' : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood');
      });
    });
    const engine = await startEngine([origin.address]);
    const answer = await exchangeRaw(engine.port, 'GET /1 HTTP/1.1\r\nHost: shop\r\n\r\nGET /2 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
    assert.doesNotMatch(answer, /evil/);
    assert.match(answer, /ok.*good$/s);
    await engine.close();
    await origin.close();
  });

  test('bytes on an idle connection close it, and are nobody’s answer', async () => {
    const origin = await tcpOrigin((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'));
      });
      socket.on('close', () => closed!());
    });
    let closed: (() => void) | undefined;
    const untilClosed = new Promise<void>((resolve) => (closed = resolve));
    const engine = await startEngine([origin.address]);
    const client = await RawClient.connect(engine.port);
    client.send('GET /1 HTTP/1.1\r\nHost: shop\r\n\r\n');
    await client.until((text) => text.endsWith('ok'));
    await untilClosed;
    const answered = once(client.socket, 'data');
    client.send('GET /2 HTTP/1.1\r\nHost: shop\r\n\r\n');
    await answered;
    assert.doesNotMatch(client.text, /evil/);
    client.close();
    await engine.close();
    await origin.close();
  });
});

/** The payload of a chunked answer. */
function decode(answer: string): string {
  let rest = answer.slice(answer.indexOf('\r\n\r\n') + 4);
  let payload = '';
  for (;;) {
    const end = rest.indexOf('\r\n');
    const size = parseInt(rest.slice(0, end), 16);
    if (!(size > 0)) return payload;
    payload += rest.slice(end + 2, end + 2 + size);
    rest = rest.slice(end + 4 + size);
  }
}
