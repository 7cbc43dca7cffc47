import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { TestAuthority } from '../../tests/support/certificates.js';
import { httpOrigin, readBody, refusedPort, tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';
import { startEngine, type TestEngine } from '../../tests/support/engine.js';
import { untilStill } from '../../tests/support/until.js';

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

  test('keeps an HTTP/1.0 connection that asks for it', async () => {
    const client = await RawClient.connect(engine.port);
    client.send('GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    assert.match(await client.until((text) => text.includes('"url":"/a"')), /\r\nConnection: keep-alive\r\n/);
    client.send('GET /b HTTP/1.0\r\n\r\n');
    assert.match(await client.untilClosed(), /"url":"\/b"/);
  });

  test('relays the upstream’s 100 Continue before the client sends its body', async () => {
    const client = await RawClient.connect(engine.port);
    client.send('POST /e HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n');
    await client.until((text) => text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'));
    assert.match(await client.send('ok').untilClosed(), /"body":"ok"/);
  });

  test('dates an answer that was not, and its own, and no other', async () => {
    const undated = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')));
    const own = await startEngine([undated.address]);
    const before = Math.floor(Date.now() / 1_000) * 1_000;
    for (const [port, bytes] of [[own.port, lastGet('/')], [own.port, 'nonsense\r\n\r\n'], [engine.port, lastGet('/')]] as const) {
      const dates = [...(await exchangeRaw(port, bytes)).matchAll(/^Date: (.*)\r\n/gm)];
      assert.equal(dates.length, 1);
      const at = new Date(dates[0]![1]!);
      assert.ok(at.getTime() >= before && at.getTime() <= Date.now(), dates[0]![1]);
      assert.equal(at.toUTCString(), dates[0]![1], 'the form that RFC 9110 wants');
    }
    await own.close();
    await undated.close();
  });

  test('tells of no length where there can be no body', async () => {
    const origins = await Promise.all(
      ['HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n'].map((answer) =>
        tcpOrigin((socket) => socket.once('data', () => socket.end(answer))),
      ),
    );
    for (const [index, origin] of origins.entries()) {
      const own = await startEngine([origin.address]);
      const answer = await exchangeRaw(own.port, get('/', index === 0 ? 'Connection: close\r\n' : 'Connection: Upgrade\r\nUpgrade: websocket\r\n'));
      assert.match(answer, index === 0 ? /^HTTP\/1\.1 103 [^]*HTTP\/1\.1 204 / : /^HTTP\/1\.1 101 /);
      assert.doesNotMatch(answer, /content-length/i);
      await own.close();
      await origin.close();
    }
  });

  test('lets a client go that has ended, also where the origin has told it to go on', async () => {
    for (const interim of ['100 Continue', '103 Early Hints']) {
      let left!: () => void;
      const hasLeft = new Promise<void>((resolve) => (left = resolve));
      const silent = await tcpOrigin((socket) => socket.on('error', () => {}).on('close', left).once('data', () => socket.write(`HTTP/1.1 ${interim}\r\n\r\n`)));
      const own = await startEngine([silent.address]);
      const client = await RawClient.connect(own.port, { allowHalfOpen: true });
      client.socket.end(get('/', 'Expect: 100-continue\r\n'));
      const [over] = await own.untilFinished(1);
      assert.equal(over!.errorCode, 'client_closed');
      await hasLeft;
      await own.close();
      await silent.close();
    }
  });

  test('serves a client that half-closes after its request', async () => {
    const client = await RawClient.connect(engine.port, { allowHalfOpen: true });
    client.socket.end(get('/half'));
    assert.match(await client.untilClosed(), /"url":"\/half"/);
  });

});

describe('limits', () => {
  let engine: TestEngine;
  let origin: Origin;
  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      await readBody(request).catch(() => '');
      response.end();
    });
    engine = await startEngine([origin.address], { limits: { headTimeout: 150, bodyIdleTimeout: 150, idleTimeout: 150, maxRequestsPerConnection: 2 } });
  });
  after(async () => {
    await engine.close();
    await origin.close();
  });

  const late: readonly (readonly [name: string, bytes: string])[] = [
    ['a head that does not end', 'GET / HTTP/1.1\r\nHost: shop\r\nX: '],
    ['a body with a length that stops coming', 'POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nhel'],
    ['chunks that stop coming', 'POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'],
  ];
  for (const [name, bytes] of late) {
    test(`answers 408 to ${name}, and closes`, async () => {
      const answer = await exchangeRaw(engine.port, bytes);
      assert.match(answer, /^HTTP\/1\.1 408 .*request_timeout$/s);
    });
  }

  test('a head that comes drop by drop has no more time than one that stops', async () => {
    const client = await RawClient.connect(engine.port);
    client.send('GET / HTTP/1.1\r\nHost: shop\r\nX: ');
    const drip = setInterval(() => client.send('x'), 20);
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 408 /);
    clearInterval(drip);
  });

  test('a connection on which nothing comes is closed without a word', async () => {
    assert.equal(await (await RawClient.connect(engine.port)).untilClosed(), '');
    const client = await RawClient.connect(engine.port);
    client.send(get('/'));
    assert.equal((await client.untilClosed()).match(/HTTP\/1\.1 /g)!.length, 1);
  });

  test('closes a connection after its last request, and says so', async () => {
    const answer = await exchangeRaw(engine.port, get('/1') + get('/2') + get('/3'));
    assert.equal(answer.match(/200 OK/g)!.length, 2);
    assert.equal(answer.match(/Connection: close/g)!.length, 1);
  });

  test('takes no more connections than it may, in all and of one client', async () => {
    for (const limits of [{ maxConnections: 2 }, { maxConnectionsPerClient: 2 }]) {
      const limited = await startEngine([origin.address], { limits });
      const held = [await RawClient.connect(limited.port), await RawClient.connect(limited.port)];
      for (const client of held) {
        client.send(get('/'));
        await client.until((text) => text.includes('200 OK'));
      }
      const third = await RawClient.connect(limited.port);
      assert.equal(await third.send(get('/')).untilClosed(), '');
      held[0]!.close();
      while (limited.listener.connectionCount > 1) await new Promise((resolve) => setImmediate(resolve));
      const fourth = await RawClient.connect(limited.port);
      await fourth.send(get('/')).until((text) => text.includes('200 OK'));
      await limited.close();
    }
  });

  test('counts connections of a client from their first moment, before any handshake', async () => {
    const authority = await TestAuthority.create();
    const files = await authority.issue('shop', { dns: ['shop.test'] });
    const limited = await startEngine([origin.address], { limits: { maxConnectionsPerClient: 2 }, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
    const silent = [await RawClient.connect(limited.port), await RawClient.connect(limited.port)];
    assert.equal(await (await RawClient.connect(limited.port)).untilClosed(), '');
    for (const client of silent) client.close();
    await limited.close();
    authority.remove();
  });

  test('a client that leaves before hands are shaken is let go at once', { timeout: 20_000 }, async () => {
    const authority = await TestAuthority.create();
    const files = await authority.issue('shop', { dns: ['shop.test'] });
    const patient = await startEngine([origin.address], { limits: { headTimeout: 3_600_000 }, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
    for (const said of ['', '\x16\x03\x01']) {
      const client = await RawClient.connect(patient.port, { allowHalfOpen: true });
      client.send(said).socket.end();
      assert.equal(await client.untilClosed(), '');
    }
    await patient.close();
    authority.remove();
  });

  test('a client that does not take its answer is cut off', async () => {
    const endless = await httpOrigin((_request, response) => {
      response.on('error', () => {});
      const chunk = Buffer.alloc(1 << 16);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      more();
    });
    const stalled = await startEngine([endless.address], { limits: { writeTimeout: 200 } });
    const client = await RawClient.connect(stalled.port);
    client.socket.pause();
    client.send(get('/'));
    const [exchange] = await stalled.untilFinished(1);
    assert.equal(exchange!.errorCode, 'client_stalled');
    assert.equal(exchange!.status, 200);
    client.close();
    await stalled.close();
    await endless.close();
  });

  test('a client that takes its answer is not cut off, though it was too much for it a moment ago', async () => {
    const [ticks, size, writeTimeout, stall] = [20, 4_000_000, 1_000, 500];
    const bursting = await tcpOrigin((socket) => {
      socket.on('error', () => {}).once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${ticks + size}\r\n\r\n`);
        let sent = 0;
        const tick = setInterval(() => {
          socket.write('.');
          if (++sent < ticks) return;
          clearInterval(tick);
          socket.write(Buffer.alloc(size));
        }, 70);
      });
    });
    const own = await startEngine([bursting.address], { limits: { writeTimeout } });
    // Whether a look falls into the time in which nothing is taken depends on when that is: so there are four.
    const lengths = await Promise.all(
      Array.from({ length: 4 }, async (_, index) => {
        await pause((index * writeTimeout) / 4);
        const { socket } = (await RawClient.connect(own.port)).send(lastGet('/'));
        let length = 0;
        let isStalled = false;
        socket.on('data', (data: Buffer) => {
          length += data.length;
          if (length < 4_096 || isStalled) return;
          isStalled = true;
          socket.pause();
          setTimeout(() => socket.resume(), stall);
        });
        await new Promise((resolve) => socket.once('close', resolve));
        return length;
      }),
    );
    assert.deepEqual(lengths.map((length) => length > ticks + size), [true, true, true, true]);
    await own.close();
    await bursting.close();
  });

  test('a client that sends requests and takes no answers is made to wait, and its answers take no more memory', async () => {
    const page = Buffer.alloc(32_768, 'x');
    let requests = 0;
    const pages = await httpOrigin((_request, response) => {
      requests++;
      response.end(page);
    });
    const patient = await startEngine([pages.address], { limits: { writeTimeout: 60_000, maxRequestsPerConnection: 1e6 } });
    const client = await RawClient.connect(patient.port);
    client.socket.pause();
    const burst = get('/').repeat(1_000);
    client.send(burst).send(burst);
    await untilStill(() => requests);
    assert.ok(requests < 500, `${requests} requests were answered into the void`);
    client.socket.removeAllListeners('data');
    let received = 0;
    client.socket.on('data', (data: Buffer) => (received += data.length));
    client.socket.resume();
    await patient.untilFinished(2_000);
    assert.equal(requests, 2_000);
    while (received < 2_000 * page.length) await new Promise((resolve) => setImmediate(resolve));
    client.close();
    await patient.close();
    await pages.close();
  });
});

describe('clients that leave', () => {
  for (const [name, pipelined] of [['', ''], [', also when it has sent more requests', get('/next').repeat(2)]] as const) {
    test(`a client that leaves before the answer cancels the attempt and counts as 499${name}`, async () => {
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
      client.send(get('/slow') + pipelined);
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
  }

  const paused: readonly (readonly [name: string, request: string, more: string])[] = [
    ['while its body is made to wait', 'POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 67108864\r\n\r\n', 'x'.repeat(32 * 1_024 * 1_024)],
    ['while the requests behind it are made to wait', get('/slow'), get('/next').repeat(1_000_000)],
  ];
  for (const [name, request, more] of paused) {
    test(`a client that resets ${name} cancels the attempt`, async () => {
      const origin = await tcpOrigin((socket) => socket.pause());
      const engine = await startEngine([origin.address]);
      const client = await RawClient.connect(engine.port);
      client.send(request);
      let taken = 0;
      const send = (): void => {
        if (taken >= more.length) return;
        client.socket.write(more.slice(taken, taken + 65_536), (error) => {
          if (error) return;
          taken += 65_536;
          send();
        });
      };
      send();
      await untilStill(() => taken);
      assert.ok(taken < more.length, 'everything was taken');
      const leftAt = performance.now();
      client.socket.resetAndDestroy();
      const [exchange] = await engine.untilFinished(1);
      assert.ok(performance.now() - leftAt < 50, `noticed after ${performance.now() - leftAt} ms`);
      assert.deepEqual([exchange!.errorCode, exchange!.status], ['client_closed', 499]);
      await engine.close();
      await origin.close();
    });
  }

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
    await untilStill(() => written);
    assert.ok(written < 32 * 1_024 * 1_024, `${written} bytes were taken from the origin`);
    client.close();
    await engine.untilFinished(1);
    await engine.close();
    await origin.close();
  });
});

describe('upstreams that misbehave', () => {
  test('a refused connection gives 503', async () => {
    const engine = await startEngine([{ host: '127.0.0.1', port: await refusedPort() }]);
    const answer = await exchangeRaw(engine.port, lastGet('/'));
    assert.match(answer, /^HTTP\/1\.1 503 .*upstream_connect_failed$/s);
    await engine.close();
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
});

describe('defects of our own', () => {
  test('an answer that cannot be written ends its exchange and its connection, and nothing else', async () => {
    const origin = await httpOrigin((_request, response) => response.end('ok'));
    const engine = await startEngine([origin.address], {
      layer: (next) => (request, exchange) => {
        if (request.path === '/bad') exchange.responseFields.push((headers) => headers.set('no name', 'x'));
        return next(request, exchange);
      },
    });
    assert.equal(await exchangeRaw(engine.port, get('/bad')), '');
    assert.equal((await engine.untilFinished(1))[0]!.errorCode, 'internal');
    assert.match(await exchangeRaw(engine.port, lastGet('/')), /^HTTP\/1\.1 200 /);
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
    // Whoever asks again hears of the same end.
    const drained = Promise.all([engine.listener.drain(), engine.listener.drain()]);
    await idle.untilClosed();
    await assert.rejects(RawClient.connect(engine.port), /ECONNREFUSED/);
    answer!();
    assert.match(await busy.untilClosed(), /^HTTP\/1\.1 200 OK.*\r\nConnection: close\r\n.*done/s);
    await drained;
    await engine.close();
    await origin.close();
  });
});

test('an answer that ends with the connection and breaks off ends with a reset', async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n')));
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port);
  const failed = once(client.socket, 'error') as Promise<[NodeJS.ErrnoException]>;
  client.send('GET / HTTP/1.0\r\n\r\n');
  assert.equal((await failed)[0].code, 'ECONNRESET');
  const [exchange] = await engine.untilFinished(1);
  assert.equal(exchange!.errorCode, 'upstream_truncated');
  await engine.close();
  await origin.close();
});

test('who has its answer may finish what it is sending, for longer than it may be silent', async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')));
  const engine = await startEngine([origin.address]);
  const client = await RawClient.connect(engine.port, { allowHalfOpen: true });
  const errors: Error[] = [];
  client.socket.on('error', (error) => errors.push(error));
  client.send('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000\r\n\r\n');
  assert.match(await client.until((text) => text.endsWith('\r\n\r\n')), /^HTTP\/1\.1 401 [^]*Connection: close/);
  const until = performance.now() + 1_500;
  while (performance.now() < until) {
    client.send('more');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.socket.end();
  await client.untilClosed();
  assert.deepEqual(errors, []);
  await engine.close();
  await origin.close();
});
