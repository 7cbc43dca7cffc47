import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import { describe, test, type TestContext } from 'node:test';
import { hostApplication, type HostApplication, type HostOptions } from '../../../tests/support/host-application.js';
import { exchangeRaw, RawClient } from '../../../tests/support/raw-client.js';
import { problemResponse } from '../../errors/problem.js';
import { ProxyError, toProxyError } from '../../errors/proxy-error.js';
import { StreamBody, WholeBody, type Body } from '../../http/body.js';
import { Headers } from '../../http/headers.js';
import type { Service } from '../../http/service.js';

const ok: Service = ({ headers }) => Promise.resolve({ status: 200, headers: Headers.of({ 'X-Cookie': headers.getAll('cookie').join('|'), 'X-Host': headers.get('host') ?? '' }), body: new WholeBody('ok') });

/** Waits for the whole body, as a retry would. */
const reads: Service = async ({ body, cancellation }) => {
  try {
    await new Promise<void>((resolve, reject) => {
      cancellation.subscribe({ cancel: reject });
      body.pipe({ chunk: () => true, end: () => resolve(), fail: reject });
    });
    return { status: 200, headers: Headers.empty(), body: new WholeBody('read') };
  } catch (error) {
    return problemResponse(toProxyError(error), '');
  }
};

/** As much as anybody takes. */
function endless(): Body {
  const part = Buffer.alloc(65_536, 'x');
  let isWanted = true;
  const push = (): void => {
    while (isWanted) body.push(part);
  };
  const stop = (): void => void (isWanted = false);
  const body = new StreamBody(undefined, {
    pause: stop,
    resume: () => {
      isWanted = true;
      setImmediate(push);
    },
    cancel: stop,
  });
  setImmediate(push);
  return body;
}
const pours: Service = () => Promise.resolve({ status: 200, headers: Headers.empty(), body: endless() });

async function session(context: TestContext, service: Service, options: HostOptions = {}): Promise<HostApplication & { readonly client: ClientHttp2Session }> {
  const host = await hostApplication(context, service, { http2: true, ...options });
  const client = connect(`http://127.0.0.1:${await host.listen()}`);
  client.on('error', () => {});
  return { ...host, client };
}

async function ask(client: ClientHttp2Session, fields: OutgoingHttpHeaders): Promise<Record<string, unknown>> {
  const stream = client.request({ ':path': '/api/', ...fields });
  const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
  stream.resume();
  return answer;
}

describe('HTTP/2 is read as the engine reads it', () => {
  const cases: readonly (readonly [name: string, fields: OutgoingHttpHeaders, status: number])[] = [
    ['a path with bytes that are no ASCII', { ':path': '/api/caf\u00c3\u00a9' }, 400],
    ['a Host that is another than :authority', { ':authority': 'shop', host: 'admin' }, 400],
    ['a scheme that is not ours', { ':scheme': 'ftp' }, 400],
    ['an encoded slash', { ':path': '/api/a%2fb' }, 400],
    ['too many fields', Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`x-${index}`, '1'])), 431],
  ];
  for (const [name, fields, status] of cases) {
    test(name, async (context) => {
      const { client } = await session(context, ok);
      assert.equal((await ask(client, fields))[':status'], status);
    });
  }

  test('the crumbs of a cookie are one field', async (context) => {
    const { client } = await session(context, ok);
    assert.equal((await ask(client, { cookie: ['a=1', 'b=2'] }))['x-cookie'], 'a=1; b=2');
  });
});

test('the fields of a head together have a limit', async (context) => {
  const { listen } = await hostApplication(context, ok, { limits: { maxHeadBytes: 1_000 } });
  const client = await RawClient.connect(await listen());
  assert.match(await client.send(`GET /api/ HTTP/1.1\r\nHost: shop\r\nX-Long: ${'x'.repeat(1_000)}\r\n\r\n`).untilClosed(), /^HTTP\/1\.1 431 [^]*head_too_large/);
});

test('an upload that has its answer is ended, which loses nothing of the answer', async (context) => {
  const answersEarly: Service = (request, exchange) => {
    request.body.pipe({ chunk: () => true, end: () => {}, fail: () => {} });
    return ok(request, exchange);
  };
  const { client } = await session(context, answersEarly);
  const codes = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const stream = client.request({ ':path': '/api/', ':method': 'POST' }, { endStream: false });
      stream.write('beginning');
      let text = '';
      stream.on('data', (chunk) => (text += String(chunk)));
      await Promise.all([once(stream, 'end'), once(stream, 'close')]);
      assert.equal(text, 'ok');
      return stream.rstCode;
    }),
  );
  assert.deepEqual([...new Set(codes)], [constants.NGHTTP2_NO_ERROR]);
});

test('a hint is without what its sender’s connection concerns', async (context) => {
  const hints: Service = (request, exchange) => {
    exchange.inform?.(103, Headers.of({ Link: '</a.css>; rel=preload', Connection: 'X-Secret', 'X-Secret': '1' }));
    return ok(request, exchange);
  };
  const { listen } = await hostApplication(context, hints);
  const answer = await exchangeRaw(await listen(), 'GET /api/ HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 103 [^\r]*\r\nLink: [^\r]+\r\n\r\nHTTP\/1\.1 200 /i);
});

test('an answer that broke off before any of it went out does not look whole', async (context) => {
  const breaks: Service = () => {
    const body = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
    // In one segment: the beginning, and what is no HTTP.
    body.push(Buffer.from('{"approved":true'));
    body.fail(new ProxyError('upstream_protocol'));
    return Promise.resolve({ status: 200, headers: Headers.of({ 'Content-Type': 'application/json' }), body });
  };
  const { client, over } = await session(context, breaks);
  const stream = client.request({ ':path': '/api/' });
  stream.on('error', () => {}).resume();
  await new Promise((resolve) => stream.once('close', resolve));
  assert.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR);
  assert.equal((await over).errorCode, 'upstream_protocol');
});

describe('a client that', () => {
  const post = 'POST /api/ HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000\r\n\r\n';

  test('stops in the middle of a body is answered 408', async (context) => {
    const { listen, over } = await hostApplication(context, reads, { limits: { bodyIdleTimeout: 100 } });
    const client = await RawClient.connect(await listen());
    assert.match(await client.send(`${post}some`).untilClosed(), /^HTTP\/1\.1 408 [^]*request_timeout/);
    assert.equal((await over).status, 408);
  });

  test('goes on too slowly is answered 408', async (context) => {
    const { listen } = await hostApplication(context, reads, { limits: { minBodyRate: 1_000 } });
    const client = await RawClient.connect(await listen());
    client.send(post);
    const drip = setInterval(() => client.send('x'), 100);
    context.after(() => clearInterval(drip));
    assert.match(await client.until((text) => text.includes('request_timeout')), /^HTTP\/1\.1 408 /);
  });

  test('takes nothing of its answer is cut off', async (context) => {
    const { listen, over } = await hostApplication(context, pours, { limits: { writeTimeout: 200 } });
    const client = await RawClient.connect(await listen());
    client.socket.pause();
    client.send('GET /api/ HTTP/1.1\r\nHost: shop\r\n\r\n');
    assert.equal((await over).errorCode, 'client_stalled');
  });

  test('takes nothing of its answer over HTTP/2 has that stream reset, and only that', async (context) => {
    const { client, over } = await session(context, pours, { limits: { writeTimeout: 200 } });
    const stream = client.request({ ':path': '/api/' });
    stream.on('error', () => {});
    const closed = once(stream, 'close');
    assert.equal((await over).errorCode, 'client_stalled');
    stream.resume();
    await closed;
    assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
    assert.equal((await ask(client, { ':path': '/own' }))[':status'], 200);
  });
});
