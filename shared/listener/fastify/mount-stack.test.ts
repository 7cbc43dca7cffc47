import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type ClientHttp2Stream } from 'node:http2';
import { describe, test, type TestContext } from 'node:test';
import { fastify, type FastifyInstance } from 'fastify';
import { exchangeRaw } from '../../../tests/support/raw-client.js';
import { systemClock } from '../../clock/clock.js';
import { limitsSchema } from '../../config/sections.js';
import { WholeBody } from '../../http/body.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import type { HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import { mountStack } from './mount-stack.js';

interface Host {
  readonly application: FastifyInstance;
  /** Resolves with the port. */
  readonly listen: () => Promise<number>;
  /** Resolves with the first exchange that is over. */
  readonly over: Promise<Exchange>;
}

/** Somebody's application with `service` below `/api`. What nobody catches in it fails the test. */
async function host(context: TestContext, service: Service, { http2 }: { readonly http2: boolean }): Promise<Host> {
  const application = (http2 ? fastify({ http2 }) : fastify()) as unknown as FastifyInstance;
  application.get('/own', () => 'mine');
  let finished: ((exchange: Exchange) => void) | undefined;
  const over = new Promise<Exchange>((resolve) => (finished = resolve));
  const observed: Service = (request, exchange) => {
    exchange.onFinish(finished!);
    return service(request, exchange);
  };
  await application.register((scope) => mountStack(scope, { name: 'test', limits: limitsSchema.parse({}), clock: systemClock, service: observed, refuse: observed }), { prefix: '/api' });
  context.after(() => application.close());
  return {
    application,
    over,
    async listen() {
      await application.listen({ port: 0, host: '127.0.0.1' });
      return Number(new URL(application.listeningOrigin).port);
    },
  };
}

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
  test('before the answer is 499, and the application goes on', async (context) => {
    let arrived: (() => void) | undefined;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    const { listen, over } = await host(context, (request, exchange) => (arrived!(), tooLate(request, exchange)), { http2: true });
    const port = await listen();
    const session = connect(`http://127.0.0.1:${port}`);
    session.request({ ':path': '/api/slow' }).on('error', () => {});
    await untilArrived;
    session.destroy();
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [499, 'client_closed']);
    await assertServes(port);
  });

  test('before the application’s own hooks let the request through is the same', async (context) => {
    const { application, listen, over } = await host(context, tooLate, { http2: true });
    let arrived: (() => void) | undefined;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    application.addHook('preValidation', async ({ url, raw }) => {
      if (url === '/own') return;
      arrived!();
      await once(raw, 'close');
    });
    const port = await listen();
    const session = connect(`http://127.0.0.1:${port}`);
    session.request({ ':path': '/api/slow' }).on('error', () => {});
    await untilArrived;
    session.destroy();
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [499, 'client_closed']);
    await assertServes(port);
  });
});

describe('a stack that rejects ends its exchange, and nothing else', () => {
  const rejects: Service = () => Promise.reject(new Error('defect'));

  test('over HTTP/1.1', async (context) => {
    const { listen, over } = await host(context, rejects, { http2: false });
    assert.equal(await exchangeRaw(await listen(), 'GET /api/ HTTP/1.1\r\nHost: shop\r\n\r\n'), '');
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [500, 'internal']);
  });

  test('over HTTP/2', async (context) => {
    const { listen, over } = await host(context, rejects, { http2: true });
    const session = connect(`http://127.0.0.1:${await listen()}`);
    await assert.rejects(textOf(session.request({ ':path': '/api/' })), /INTERNAL_ERROR/);
    const { status, errorCode } = await over;
    assert.deepEqual([status, errorCode], [500, 'internal']);
    assert.equal(await textOf(session.request({ ':path': '/own' })), 'mine');
    session.close();
  });
});
