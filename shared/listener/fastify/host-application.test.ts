import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { describe, test } from 'node:test';
import { hostApplication } from '../../../tests/support/host-application.js';
import { exchangeRaw } from '../../../tests/support/raw-client.js';
import { problemResponse } from '../../errors/problem.js';
import { ProxyError, toProxyError } from '../../errors/proxy-error.js';
import { StreamBody, WholeBody, type Body } from '../../http/body.js';
import { Headers } from '../../http/headers.js';
import type { Service } from '../../http/service.js';

async function textOf(body: Body): Promise<string> {
  const parts: Buffer[] = [];
  await new Promise<void>((resolve, reject) => body.pipe({ chunk: (data) => parts.push(data) > 0, end: () => resolve(), fail: reject }));
  return Buffer.concat(parts).toString();
}

/** Says what arrived. */
const echo: Service = async ({ method, target, headers, body }) => {
  const text = body.length === 0 ? '' : await textOf(body).catch(toProxyError);
  if (text instanceof ProxyError) return problemResponse(text, '');
  const answer = JSON.stringify({ method, target, length: headers.get('content-length'), type: headers.get('content-type'), body: text });
  return { status: 200, headers: Headers.of({ 'Content-Type': 'application/json' }), body: new WholeBody(answer) };
};

const get = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n${fields}\r\n`;
const post = (type: string, body: string): string => `POST /api/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n${type}Content-Length: ${body.length}\r\n\r\n${body}`;
const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
const bodyOf = (answer: string): Record<string, unknown> => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as Record<string, unknown>;

describe('a body passes as it is', () => {
  for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded', 'application/octet-stream', 'garbage', 'text', 'a/b; c', undefined]) {
    test(`of type ${type ?? 'unknown'}`, async (context) => {
      const { listen } = await hostApplication(context, echo);
      const { body, length, type: seen } = bodyOf(await exchangeRaw(await listen(), post(type === undefined ? '' : `Content-Type: ${type}\r\n`, '{"a": 1')));
      assert.deepEqual([body, length, seen], ['{"a": 1', '7', type]);
    });
  }

  test('whatever parsers the application has', async (context) => {
    const { application, listen } = await hostApplication(context, echo, {
      own: (application) => {
        application.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, _body, done) => done(null, { mine: true }));
        application.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, _body, done) => done(null, { mine: true }));
        application.addContentTypeParser('text/plain', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
        application.post('/own', ({ body }) => body);
      },
    });
    const port = await listen();
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain']) {
      assert.equal(bodyOf(await exchangeRaw(port, post(`Content-Type: ${type}\r\n`, 'a=1')))['body'], 'a=1');
    }
    const own = await application.inject({ method: 'POST', url: '/own', headers: { 'content-type': 'application/json' }, payload: '{}' });
    assert.deepEqual(own.json(), { mine: true });
  });

  test('and the limit of its size holds for text too', async (context) => {
    const { listen } = await hostApplication(context, echo, { limits: { maxBodyBytes: 10 } });
    const chunked = 'POST /api/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n';
    assert.equal(statusOf(await exchangeRaw(await listen(), chunked)), 413);
  });

  test('from inject as well', async (context) => {
    const { application } = await hostApplication(context, echo);
    const answer = await application.inject({ method: 'POST', url: '/api/x', headers: { 'content-type': 'text/plain' }, payload: 'hello' });
    assert.deepEqual([answer.statusCode, answer.json<{ body: string }>().body], [200, 'hello']);
  });
});

describe('the prefix', () => {
  const paths: readonly (readonly [path: string, status: number])[] = [
    ['/api', 200], ['/api/', 200], ['/api?x=1', 200], ['/api/x', 200], ['/api/./x', 200], ['/api/a/../x', 200], ['/api//x', 200], ['/%61pi/x', 200],
    ['/api/../own', 400], ['/api/%2e%2e/own', 400], ['/api/..;/own', 400], ['/api/a/../../own', 400], ['/api/../apix', 400], ['/api/..', 400], ['http://shop/api/../own', 400],
    ['/apix', 404], ['/x/../api/y', 404],
  ];
  for (const [path, status] of paths) {
    test(`${path} is answered ${status}`, async (context) => {
      const { listen } = await hostApplication(context, echo);
      assert.equal(statusOf(await exchangeRaw(await listen(), get(path))), status);
    });
  }

  test('may have parameters, which a path cannot change on its way', async (context) => {
    const { listen } = await hostApplication(context, echo, { prefix: '/:tenant/api' });
    const port = await listen();
    assert.equal(bodyOf(await exchangeRaw(port, get('/one/api/x')))['target'], '/one/api/x');
    assert.equal(statusOf(await exchangeRaw(port, get('/one/api/../../two/api/x'))), 400);
  });
});

describe('errors', () => {
  test('of the application’s hooks are answered by its own handler', async (context) => {
    const { application, listen } = await hostApplication(context, echo, {
      own: (application) => {
        application.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => reply.code(error.statusCode ?? 500).send({ mine: error.message }));
        application.addHook('onRequest', (_request, _reply, done) => done(Object.assign(new Error('not you'), { statusCode: 403 })));
      },
    });
    await listen();
    const answer = await fetch(`${application.listeningOrigin}/api/x`);
    assert.deepEqual([answer.status, await answer.json()], [403, { mine: 'not you' }]);
  });

  for (const http2 of [false, true]) {
    test(`an answer that breaks off before any of it was sent is one error, in one exchange (HTTP/${http2 ? 2 : 1})`, async (context) => {
      let exchanges = 0;
      const breaks: Service = () => {
        exchanges++;
        const body = new StreamBody(100, { pause: () => {}, resume: () => {}, cancel: () => {} });
        body.fail(new Error('gone'));
        return Promise.resolve({ status: 200, headers: Headers.of({ 'Content-Length': '100', 'Content-Encoding': 'gzip', ETag: 'x' }), body });
      };
      const { listen, over } = await hostApplication(context, breaks, { http2 });
      const port = await listen();
      if (http2) {
        const session = connect(`http://127.0.0.1:${port}`);
        const stream = session.request({ ':path': '/api/x' });
        const fields = await new Promise<Record<string, unknown>>((resolve) => stream.once('response', resolve));
        assert.deepEqual([fields[':status'], fields['etag'], fields['content-encoding']], [502, undefined, undefined]);
        stream.resume();
        session.close();
      } else {
        const answer = await exchangeRaw(port, get('/api/x'));
        assert.match(answer, /^HTTP\/1\.1 502 [^]*"code":"upstream_truncated"/);
        assert.doesNotMatch(answer, /etag|gzip/i);
      }
      const { status, errorCode } = await over;
      assert.deepEqual([status, errorCode, exchanges], [502, 'upstream_truncated', 1]);
    });
  }
});

test('an answer that a hook of the application replaces is given up', async (context) => {
  let cancelled: ((reason: Error) => void) | undefined;
  const untilCancelled = new Promise<Error>((resolve) => (cancelled = resolve));
  const endless: Service = () => {
    const body = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: (reason) => cancelled!(reason) });
    body.push(Buffer.from('x'));
    return Promise.resolve({ status: 200, headers: Headers.empty(), body });
  };
  const { application, listen, over } = await hostApplication(context, endless, { own: (application) => application.addHook('onSend', (_request, reply, _payload, done) => { reply.code(203); done(null, 'mine'); }) });
  await listen();
  const answer = await fetch(`${application.listeningOrigin}/api/x`);
  assert.deepEqual([answer.status, await answer.text()], [203, 'mine']);
  await untilCancelled;
  assert.equal((await over).status, 203);
});

describe('an upstream that announces trailers harms nobody', () => {
  const announces: Service = () => Promise.resolve({ status: 200, headers: Headers.of({ Trailer: 'X-Sum', 'Content-Length': '2', 'Content-Type': 'text/plain' }), body: new WholeBody('ok') });
  for (const head of ['GET /api/x HTTP/1.0\r\n\r\n', 'HEAD /api/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n', get('/api/x')]) {
    test(head.split('\r\n', 1)[0], async (context) => {
      const { listen } = await hostApplication(context, announces);
      const answer = await exchangeRaw(await listen(), head);
      assert.match(answer, /^HTTP\/1\.1 200 /);
      assert.doesNotMatch(answer, /trailer/i);
    });
  }
});
