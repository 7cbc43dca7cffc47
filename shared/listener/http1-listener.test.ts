import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { httpOrigin, readBody, refusedPort, tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';
import { startEngine, type TestEngine } from '../../tests/support/engine.js';

const get = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const lastGet = (path: string): string => get(path, 'Connection: close\r\n');

describe('a well-behaved origin', () => {
  let origin: Origin;
  let engine: TestEngine;
  let connections = 0;

  before(async () => {
    const http = await httpOrigin(async (request, response) => {
      const body = await readBody(request);
      if (request.url === '/empty') response.writeHead(204).end();
      else if (request.url === '/chunked') {
        response.write('first,');
        setImmediate(() => response.end('second'));
      } else if (request.url === '/trailers') {
        response.writeHead(200, { Trailer: 'X-Sum' });
        response.write('data');
        response.addTrailers({ 'X-Sum': '42' });
        response.end();
      } else if (request.url === '/hints') {
        response.writeEarlyHints({ link: '</a.css>; rel=preload' });
        response.end('page');
      } else {
        response.setHeader('X-Method', request.method!);
        response.end(JSON.stringify({ url: request.url, body, headers: request.headers }));
      }
    });
    http.server.on('connection', () => connections++);
    origin = http;
    engine = await startEngine([origin.address]);
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  test('forwards a request and its answer', async () => {
    const answer = await exchangeRaw(engine.port, lastGet('/hello?x=1'));
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /"url":"\/hello\?x=1"/);
    assert.match(answer, /"host":"shop"/);
    assert.match(answer, /\r\nConnection: close\r\n/);
  });

  test('keeps the client’s connection and reuses the upstream’s', async () => {
    const before = connections;
    const client = await RawClient.connect(engine.port);
    for (let index = 1; index <= 5; index++) {
      client.send(get(`/${index}`));
      await client.until((text) => text.includes(`"url":"/${index}"`));
    }
    client.close();
    assert.ok(connections - before <= 1, `${connections - before} new upstream connections`);
  });

  test('answers pipelined requests in order', async () => {
    const paths = Array.from({ length: 50 }, (_, index) => `/p${index}`);
    const answer = await exchangeRaw(engine.port, paths.map((path) => get(path)).join('') + lastGet('/end'));
    const order = [...answer.matchAll(/"url":"(\/[^"]*)"/g)].map((match) => match[1]);
    assert.deepEqual(order, [...paths, '/end']);
  });

  test('gives the same result however the bytes are split', async () => {
    const bytes = `POST /split HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n`;
    for (const size of [1, 2, 3, 7, 50]) {
      const client = await RawClient.connect(engine.port);
      for (let from = 0; from < bytes.length; from += size) {
        client.send(bytes.slice(from, from + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.match(await client.untilClosed(), /"body":"hello world"/, `split every ${size} bytes`);
    }
  });

  test('forwards a body with a length', async () => {
    const answer = await exchangeRaw(engine.port, 'POST /l HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello');
    assert.match(answer, /"body":"hello"/);
    assert.match(answer, /"content-length":"5"/);
  });

  test('forwards a chunked answer', async () => {
    const answer = await exchangeRaw(engine.port, lastGet('/chunked'));
    assert.match(answer, /Transfer-Encoding: chunked/i);
    assert.match(answer, /first,\r\n.*second\r\n0\r\n\r\n$/s);
  });

  test('passes trailers on', async () => {
    assert.match(await exchangeRaw(engine.port, lastGet('/trailers')), /\r\n0\r\nX-Sum: 42\r\n\r\n$/);
  });

  test('passes early hints on before the answer', async () => {
    assert.match(await exchangeRaw(engine.port, lastGet('/hints')), /^HTTP\/1\.1 103 Early Hints\r\nlink: [^\r]*\r\n\r\nHTTP\/1\.1 200 OK/i);
  });

  test('ends a chunked answer to an HTTP/1.0 client by closing', async () => {
    const answer = await exchangeRaw(engine.port, 'GET /chunked HTTP/1.0\r\nHost: shop\r\n\r\n');
    assert.doesNotMatch(answer, /transfer-encoding/i);
    assert.match(answer, /\r\n\r\nfirst,second$/);
  });

  test('keeps an HTTP/1.0 connection that asks for it', async () => {
    const client = await RawClient.connect(engine.port);
    client.send('GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    assert.match(await client.until((text) => text.includes('"url":"/a"')), /\r\nConnection: keep-alive\r\n/);
    client.send('GET /b HTTP/1.0\r\n\r\n');
    assert.match(await client.untilClosed(), /"url":"\/b"/);
  });

  test('sends no body in answer to HEAD, and keeps the connection usable', async () => {
    const answer = await exchangeRaw(engine.port, `HEAD /x HTTP/1.1\r\nHost: shop\r\n\r\n${lastGet('/next')}`);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n(?:[^\r]+\r\n)*\r\nHTTP\/1\.1 200 OK/);
    assert.match(answer, /"url":"\/next"/);
  });

  test('forwards 204 without a body', async () => {
    assert.match(await exchangeRaw(engine.port, `${get('/empty')}${lastGet('/after')}`), /^HTTP\/1\.1 204 No Content\r\n(?:[^\r]+\r\n)*\r\nHTTP\/1\.1 200/);
  });

  test('relays the upstream’s 100 Continue before the client sends its body', async () => {
    const client = await RawClient.connect(engine.port);
    client.send('POST /e HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n');
    await client.until((text) => text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'));
    assert.match(await client.send('ok').untilClosed(), /"body":"ok"/);
  });

  test('takes an absolute target, whose host wins over Host', async () => {
    const answer = await exchangeRaw(engine.port, 'GET http://Inventory:80/stock HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n');
    assert.match(answer, /"url":"\/stock"/);
    assert.match(answer, /"host":"inventory:80"/);
  });

  test('removes hop-by-hop fields, but none that Connection may not name', async () => {
    const answer = await exchangeRaw(
      engine.port,
      get('/h', 'Connection: close, x-drop, authorization\r\nX-Drop: 1\r\nX-Keep: 2\r\nAuthorization: Bearer t\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n'),
    );
    const { headers } = JSON.parse(answer.slice(answer.indexOf('{'))) as { headers: Record<string, string> };
    assert.deepEqual(Object.keys(headers).filter((name) => /drop|keep|authorization|^te$|upgrade|proxy/.test(name)).sort(), ['authorization', 'x-keep']);
  });

  test('serves a client that half-closes after its request', async () => {
    const client = await RawClient.connect(engine.port, { allowHalfOpen: true });
    client.socket.end(get('/half'));
    assert.match(await client.untilClosed(), /"url":"\/half"/);
  });

  test('normalises a path before anything else sees it', async () => {
    for (const [sent, seen] of [
      ['/a/../b', '/b'],
      ['/a//b/./c', '/a/b/c'],
      ['/%61dmin', '/admin'],
      ['/a/%2e%2e/b', '/b'],
      ['/../../etc', '/etc'],
      ['/caf%c3%a9', '/caf%C3%A9'],
    ] as const) {
      assert.ok((await exchangeRaw(engine.port, lastGet(sent))).includes(`"url":"${seen}"`), `${sent} should become ${seen}`);
    }
  });
});

describe('requests that are refused', () => {
  let engine: TestEngine;
  let reached = 0;
  let origin: Origin;
  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      reached++;
      await readBody(request).catch(() => '');
      response.end();
    });
    engine = await startEngine([origin.address], {
      limits: { maxHeadBytes: 2_048, maxHeaders: 20, maxTargetBytes: 200, maxBodyBytes: 100, headTimeout: 150, bodyIdleTimeout: 150 },
    });
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  const line = 'GET / HTTP/1.1\r\n';
  const host = 'Host: shop\r\n';
  const cases: readonly (readonly [name: string, bytes: string, status: number])[] = [
    ['both Content-Length and Transfer-Encoding', `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['two differing Content-Lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, 400],
    ['two equal Content-Lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`, 400],
    ['a list of Content-Lengths', `POST / HTTP/1.1\r\n${host}Content-Length: 5, 5\r\n\r\nhello`, 400],
    ['a signed Content-Length', `POST / HTTP/1.1\r\n${host}Content-Length: +5\r\n\r\nhello`, 400],
    ['a hexadecimal Content-Length', `POST / HTTP/1.1\r\n${host}Content-Length: 0x5\r\n\r\nhello`, 400],
    ['an empty Content-Length', `POST / HTTP/1.1\r\n${host}Content-Length: \r\n\r\n`, 400],
    ['a Content-Length beyond 2^53', `POST / HTTP/1.1\r\n${host}Content-Length: 99999999999999999999\r\n\r\n`, 400],
    ['a transfer coding before chunked', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a transfer coding after chunked', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400],
    ['two Transfer-Encodings', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a disguised Transfer-Encoding', `POST / HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400],
    ['a Transfer-Encoding in HTTP/1.0', `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a space before the colon', `${line}Host : shop\r\n\r\n`, 400],
    ['an obs-fold', `${line}${host}X-A: 1\r\n 2\r\n\r\n`, 400],
    ['a field line that starts with a space', `${line} Host: shop\r\n\r\n`, 400],
    ['a bare LF', `GET / HTTP/1.1\nHost: shop\n\n`, 400],
    ['a bare CR in a value', `${line}${host}X-A: a\rb\r\n\r\n`, 400],
    ['a NUL in a value', `${line}${host}X-A: a\0b\r\n\r\n`, 400],
    ['a control character in a value', `${line}${host}X-A: a\x01b\r\n\r\n`, 400],
    ['an empty field name', `${line}${host}: x\r\n\r\n`, 400],
    ['a field name that is no token', `${line}${host}X(A): x\r\n\r\n`, 400],
    ['no Host', `${line}\r\n`, 400],
    ['two Hosts', `${line}${host}${host}\r\n`, 400],
    ['a Host with a path', `${line}Host: shop/admin\r\n\r\n`, 400],
    ['a Host with user information', `${line}Host: me@shop\r\n\r\n`, 400],
    ['two spaces in the request line', `GET  / HTTP/1.1\r\n${host}\r\n`, 400],
    ['a tab in the request line', `GET\t/ HTTP/1.1\r\n${host}\r\n`, 400],
    ['a lower-case method', `get / HTTP/1.1\r\n${host}\r\n`, 400],
    ['an unknown method', `BREW / HTTP/1.1\r\n${host}\r\n`, 400],
    ['a target without a slash', `GET admin HTTP/1.1\r\n${host}\r\n`, 400],
    ['a target with a space', `GET /a b HTTP/1.1\r\n${host}\r\n`, 400],
    ['a fragment', `GET /a#b HTTP/1.1\r\n${host}\r\n`, 400],
    ['an encoded slash', `GET /a%2fb HTTP/1.1\r\n${host}\r\n`, 400],
    ['an encoded NUL', `GET /a%00 HTTP/1.1\r\n${host}\r\n`, 400],
    ['a backslash', `GET /a\\b HTTP/1.1\r\n${host}\r\n`, 400],
    ['a malformed escape', `GET /%zz HTTP/1.1\r\n${host}\r\n`, 400],
    ['a lower-case protocol', `GET / http/1.1\r\n${host}\r\n`, 400],
    ['HTTP/2 as a version', `GET / HTTP/2.0\r\n${host}\r\n`, 505],
    ['CONNECT', `CONNECT shop:443 HTTP/1.1\r\n${host}\r\n`, 405],
    ['garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['a head that is too large', `${line}${host}X: ${'a'.repeat(3_000)}\r\n\r\n`, 431],
    ['a head that is too large and never ends', `${line}${host}X: ${'a'.repeat(3_000)}`, 431],
    ['too many fields', `${line}${host}${'X: 1\r\n'.repeat(30)}\r\n`, 431],
    ['a target that is too long', `GET /${'a'.repeat(300)} HTTP/1.1\r\n${host}\r\n`, 414],
    ['a body that is too large', `POST / HTTP/1.1\r\n${host}Content-Length: 101\r\n\r\n`, 413],
    ['an unknown expectation', `POST / HTTP/1.1\r\n${host}Expect: magic\r\nContent-Length: 1\r\n\r\n`, 417],
    ['a head that does not end in time', `${line}${host}X: `, 408],
  ];
  for (const [name, bytes, status] of cases) {
    test(`answers ${status} to ${name}, closes, and forwards nothing`, async () => {
      const answer = await exchangeRaw(engine.port, bytes + (status === 408 ? '' : lastGet('/smuggled')));
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.equal(answer.match(/HTTP\/1\.1 /g)!.length, 1, 'exactly one answer');
      assert.equal(reached, 0, 'the origin saw a request');
    });
  }

  const bodies: readonly (readonly [name: string, body: string, status: number])[] = [
    ['a chunk size that is not hexadecimal', 'xyz\r\nhello\r\n0\r\n\r\n', 400],
    ['a chunk size with a sign', '+5\r\nhello\r\n0\r\n\r\n', 400],
    ['a chunk size with a prefix', '0x5\r\nhello\r\n0\r\n\r\n', 400],
    ['an absurd chunk size', 'ffffffffffffffff\r\nhello', 400],
    ['a chunk longer than its size', '3\r\nhello\r\n0\r\n\r\n', 400],
    ['a chunk line that ends with LF', '5\nhello\r\n0\r\n\r\n', 400],
    ['a space behind a chunk size', '5 \r\nhello\r\n0\r\n\r\n', 400],
    ['a malformed trailer', '0\r\nbad trailer\r\n\r\n', 400],
    ['chunks that add up to too much', '40\r\n' + 'a'.repeat(64) + '\r\n40\r\n' + 'a'.repeat(64) + '\r\n0\r\n\r\n', 413],
    ['a body that stops coming', '5\r\nhel', 408],
  ];
  for (const [name, body, status] of bodies) {
    test(`answers ${status} to ${name} and closes`, async () => {
      const answer = await exchangeRaw(engine.port, `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${body}`);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.equal(answer.match(/HTTP\/1\.1 /g)!.length, 1);
    });
  }
});

describe('clients that leave', () => {
  test('a client that leaves before the answer cancels the attempt and counts as 499', async () => {
    let sawClose: (() => void) | undefined;
    const closed = new Promise<void>((resolve) => (sawClose = resolve));
    let sawRequest: (() => void) | undefined;
    const requested = new Promise<void>((resolve) => (sawRequest = resolve));
    const origin = await tcpOrigin((socket) => {
      socket.on('data', () => sawRequest!());
      socket.on('close', () => sawClose!());
    });
    const engine = await startEngine([origin.address]);
    const client = await RawClient.connect(engine.port);
    client.send(get('/slow'));
    await requested;
    const leftAt = performance.now();
    client.close();
    await closed;
    assert.ok(performance.now() - leftAt < 50, `cancelled after ${performance.now() - leftAt} ms`);
    const [exchange] = await engine.untilFinished(1);
    assert.equal(exchange!.errorCode, 'client_closed');
    assert.equal(exchange!.status, 499);
    await engine.close();
    await origin.close();
  });

  test('a slow reader makes the origin wait instead of filling memory', async () => {
    let written = 0;
    const origin = await httpOrigin((_request, response) => {
      const chunk = Buffer.alloc(65_536);
      const more = (): void => {
        while (written < 256 * 1_024 * 1_024) {
          written += chunk.length;
          if (!response.write(chunk)) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    const engine = await startEngine([origin.address]);
    const client = await RawClient.connect(engine.port);
    client.socket.pause();
    client.send(get('/big'));
    let last = -1;
    while (written !== last) {
      last = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(written < 32 * 1_024 * 1_024, `${written} bytes were taken from the origin`);
    client.close();
    await engine.untilFinished(1);
    await engine.close();
    await origin.close();
  });
});

describe('upstreams that misbehave', () => {
  const answers: readonly (readonly [name: string, bytes: string, code: string])[] = [
    ['both Content-Length and Transfer-Encoding', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'upstream_protocol'],
    ['two Content-Lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 'upstream_protocol'],
    ['no status line', 'hello there\r\n\r\n', 'upstream_protocol'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n', 'upstream_protocol'],
    ['a switch of protocols nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', 'upstream_protocol'],
    ['a head that is too large', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`, 'upstream_protocol'],
    ['nothing, and closes', '', 'upstream_reset'],
    ['half a head, and closes', 'HTTP/1.1 200 OK\r\nConte', 'upstream_reset'],
  ];
  for (const [name, bytes, code] of answers) {
    test(`an upstream that sends ${name} gives 502 ${code}`, async () => {
      const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end(Buffer.from(bytes, 'latin1'))));
      const engine = await startEngine([origin.address]);
      const answer = await exchangeRaw(engine.port, lastGet('/'));
      assert.match(answer, /^HTTP\/1\.1 502 /);
      assert.ok(answer.endsWith(code), answer);
      await engine.close();
      await origin.close();
    });
  }

  test('a refused connection gives 503', async () => {
    const engine = await startEngine([{ host: '127.0.0.1', port: await refusedPort() }]);
    const answer = await exchangeRaw(engine.port, lastGet('/'));
    assert.match(answer, /^HTTP\/1\.1 503 .*upstream_connect_failed$/s);
    await engine.close();
  });

  for (const [name, bytes] of [
    ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
  ] as const) {
    test(`an answer ${name} that breaks off is never ended well`, async () => {
      const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end(bytes)));
      const engine = await startEngine([origin.address]);
      const answer = await exchangeRaw(engine.port, get('/'));
      assert.match(answer, /half/);
      assert.doesNotMatch(answer, /0\r\n\r\n$/);
      const [exchange] = await engine.untilFinished(1);
      assert.equal(exchange!.errorCode, 'upstream_truncated');
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
    const answer = await exchangeRaw(engine.port, get('/1') + lastGet('/2'));
    assert.doesNotMatch(answer, /evil/);
    assert.match(answer, /ok.*good$/s);
    await engine.close();
    await origin.close();
  });

  test('an idle connection that the origin closed meanwhile costs the client nothing', async () => {
    let requests = 0;
    const origin = await tcpOrigin((socket) => {
      let served = 0;
      socket.on('data', () => {
        requests++;
        // Answers once, then closes as soon as the next request arrives: the keep-alive race.
        if (served++ === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        else socket.destroy();
      });
    });
    const engine = await startEngine([origin.address]);
    const answer = await exchangeRaw(engine.port, get('/1') + lastGet('/2'));
    assert.equal(answer.match(/200 OK/g)!.length, 2);
    assert.equal(requests, 3);
    await engine.close();
    await origin.close();
  });

  test('an answer delimited by close is forwarded whole', async () => {
    const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end')));
    const engine = await startEngine([origin.address]);
    assert.match(await exchangeRaw(engine.port, lastGet('/')), /until the end\r\n0\r\n\r\n$/);
    await engine.close();
    await origin.close();
  });
});

describe('draining', () => {
  test('finishes what is in flight, says so, and closes idle connections', async () => {
    let answer: (() => void) | undefined;
    let sawRequest: (() => void) | undefined;
    const requested = new Promise<void>((resolve) => (sawRequest = resolve));
    const origin = await httpOrigin((request, response) => {
      if (request.url !== '/busy') return void response.end('quick');
      answer = () => response.end('done');
      sawRequest!();
    });
    const engine = await startEngine([origin.address]);
    const idle = await RawClient.connect(engine.port);
    idle.send(get('/'));
    await idle.until((text) => text.includes('quick'));
    const busy = await RawClient.connect(engine.port);
    busy.send(get('/busy'));
    await requested;
    const drained = engine.listener.drain();
    await idle.untilClosed();
    await assert.rejects(RawClient.connect(engine.port), /ECONNREFUSED/);
    answer!();
    assert.match(await busy.untilClosed(), /^HTTP\/1\.1 200 OK.*\r\nConnection: close\r\n.*done/s);
    await drained;
    await engine.close();
    await origin.close();
  });
});
