import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { describe, test, type TestContext } from 'node:test';
import { startEngine } from '../../../tests/support/engine.js';
import { hostApplication } from '../../../tests/support/host-application.js';
import { tcpOrigin } from '../../../tests/support/origin.js';
import { exchangeRaw } from '../../../tests/support/raw-client.js';
import { WholeBody } from '../../http/body.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import type { HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';

const late = (): HttpResponse => ({ status: 200, headers: Headers.of({ 'Content-Type': 'text/plain' }), body: new WholeBody('late') });

/** Answers once the client has left. */
const tooLate: Service = (_request, { cancellation }) => new Promise((resolve) => cancellation.subscribe({ cancel: () => resolve(late()) }));

async function textOf(stream: ClientHttp2Stream): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

async function assertServes(port: number): Promise<void> {
  const session = connect(`http://127.0.0.1:${port}`);
  assert.equal(await textOf(session.request({ ':path': '/own' })), 'mine');
  session.close();
}

describe('a client of HTTP/2 that closes its connection', () => {
  /** Asks, and leaves as soon as that has arrived. */
  async function leave(port: number, untilArrived: Promise<void>): Promise<void> {
    const session = connect(`http://127.0.0.1:${port}`);
    session.request({ ':path': '/api/slow' }).on('error', () => {});
    await untilArrived;
    session.destroy();
  }

  async function assertLeft(over: Promise<Exchange>): Promise<void> {
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [499, 'client_closed']);
  }

  test('before the answer is 499, and the application goes on', async (context) => {
    let arrived: (() => void) | undefined;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    const { listen, over } = await hostApplication(context, (request, exchange) => (arrived!(), tooLate(request, exchange)), { http2: true });
    const port = await listen();
    await leave(port, untilArrived);
    await assertLeft(over);
    await assertServes(port);
  });

  test('before the application’s own hooks let the request through is the same', async (context) => {
    const { application, listen, over } = await hostApplication(context, tooLate, { http2: true });
    let arrived: (() => void) | undefined;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    application.addHook('preValidation', async ({ url, raw }) => {
      if (url === '/own') return;
      arrived!();
      await once(raw, 'close');
    });
    const port = await listen();
    await leave(port, untilArrived);
    await assertLeft(over);
    await assertServes(port);
  });
});

describe('a stack that rejects ends its exchange, and nothing else', () => {
  const rejects: Service = () => Promise.reject(new Error('defect'));

  test('over HTTP/1.1', async (context) => {
    const { listen, over } = await hostApplication(context, rejects);
    assert.equal(await exchangeRaw(await listen(), 'GET /api/ HTTP/1.1\r\nHost: shop\r\n\r\n'), '');
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [500, 'internal']);
  });

  test('over HTTP/2', async (context) => {
    const { listen, over } = await hostApplication(context, rejects, { http2: true });
    const session = connect(`http://127.0.0.1:${await listen()}`);
    await assert.rejects(textOf(session.request({ ':path': '/api/' })), /INTERNAL_ERROR/);
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [500, 'internal']);
    assert.equal(await textOf(session.request({ ':path': '/own' })), 'mine');
    session.close();
  });
});

describe('what an upstream sends goes out over HTTP/2 as the engine would send it', () => {
  interface Seen {
    readonly fields: IncomingHttpHeaders;
    readonly hints: readonly IncomingHttpHeaders[];
    readonly body: string;
  }

  /** What a client gets when the upstream sends `answer`, after which its connection is asked for more. */
  async function relayed(context: TestContext, answer: string): Promise<Seen> {
    const origin = await tcpOrigin((socket) => socket.on('data', () => socket.write(answer, 'latin1')));
    const engine = await startEngine([origin.address]);
    context.after(async () => {
      await engine.close();
      await origin.close();
    });
    const { listen } = await hostApplication(context, (request, exchange) => engine.upstream.balance(request, exchange), { http2: true });
    const session = connect(`http://127.0.0.1:${await listen()}`);
    try {
      return await ask(session);
    } finally {
      assert.equal(await textOf(session.request({ ':path': '/own' })), 'mine');
      session.close();
    }
  }

  async function ask(session: ClientHttp2Session): Promise<Seen> {
    const stream = session.request({ ':path': '/api/' });
    const hints: IncomingHttpHeaders[] = [];
    stream.on('headers', (fields: IncomingHttpHeaders) => hints.push(fields));
    const [fields] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    return { fields, hints, body: await textOf(stream) };
  }

  const ok = 'HTTP/1.1 200 OK\r\n';
  const two = 'Content-Length: 2\r\n\r\nok';

  const doubled = ['access-control-max-age', 'age', 'content-encoding', 'content-language', 'content-location', 'content-type', 'date', 'etag', 'expires', 'last-modified', 'location', 'retry-after', 'x-content-type-options'];
  for (const [framing, rest] of [['with a length', two], ['chunked', 'Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n']] as const) {
    test(`fields that Node takes once are one list when they come twice, ${framing}`, async (context) => {
      const { fields, body } = await relayed(context, ok + doubled.map((name) => `${name}: a\r\n${name}: b\r\n`).join('') + rest);
      assert.deepEqual(doubled.map((name) => [name, fields[name]]), doubled.map((name) => [name, 'a, b']));
      assert.equal(body, 'ok');
    });
  }

  test('other fields stay several, whatever they are called', async (context) => {
    const { fields } = await relayed(context, `${ok}Set-Cookie: a\r\nSet-Cookie: b\r\nConstructor: c\r\n__proto__: d\r\n__proto__: e\r\n${two}`);
    assert.deepEqual([fields['set-cookie'], fields['constructor']], [['a', 'b'], 'c']);
  });

  test('fields of a connection stay behind', async (context) => {
    const names = ['connection', 'upgrade', 'http2-settings', 'proxy-connection', 'keep-alive', 'te', 'x-named'];
    const { fields, body } = await relayed(context, `${ok}Connection: x-named\r\n${names.slice(1).map((name) => `${name}: a\r\n`).join('')}${two}`);
    assert.deepEqual(names.filter((name) => Object.hasOwn(fields, name)), []);
    assert.equal(body, 'ok');
  });

  for (const [status, length] of [[204, undefined], [205, undefined], [304, '5']] as const) {
    test(`${status} has no body, whatever length it names`, async (context) => {
      const { fields, body } = await relayed(context, `HTTP/1.1 ${status} X\r\nContent-Length: 5\r\n\r\n${status === 205 ? 'hello' : ''}`);
      assert.deepEqual([fields[':status'], fields['content-length'], body], [status, length, '']);
    });
  }

  const hints: readonly (readonly [name: string, fields: string, seen: IncomingHttpHeaders])[] = [
    ['without a Link', 'X-A: 1\r\n', { 'x-a': '1' }],
    ['with a Link that Node does not like', 'Link: nonsense\r\n', { link: 'nonsense' }],
    ['with a field twice', 'ETag: a\r\nETag: b\r\nConnection: close\r\nLink: </a>; rel=preload\r\n', { etag: 'a, b', link: '</a>; rel=preload' }],
  ];
  for (const [name, lines, seen] of hints) {
    test(`early hints go on, ${name}`, async (context) => {
      const { fields, hints: [first = {}] } = await relayed(context, `HTTP/1.1 103 Early Hints\r\n${lines}\r\n${ok}${two}`);
      assert.equal(fields[':status'], 200);
      assert.deepEqual(Object.entries(first), Object.entries({ ':status': 103, ...seen }));
    });
  }

  for (const type of ['', 'Content-Type: text/plain\r\n']) {
    test(`a status that does not exist harms nobody else, ${type === '' ? 'without' : 'with'} a type`, async (context) => {
      await relayed(context, `HTTP/1.1 999 X\r\n${type}${two}`).catch((error: unknown) => assert.equal((error as NodeJS.ErrnoException).code, 'ERR_HTTP2_STREAM_ERROR'));
    });
  }
});

test('HTTP/1.1: hints that Node refuses stay out, and the answer comes', async (context) => {
  const service: Service = (_request, exchange) => {
    exchange.inform!(103, Headers.of({ Link: 'nonsense' }));
    return Promise.resolve(late());
  };
  const { application, listen } = await hostApplication(context, service);
  await listen();
  assert.equal(await (await fetch(`${application.listeningOrigin}/api/`)).text(), 'late');
});
