import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { portIn, TestProcess } from '../support/process.js';

const total = 2 ** 30;
/**
 * Up to Node 22 buffers that nobody holds any more are collected with the young generation. From 24 on V8 lets 64 MiB of
 * them pass before it collects: that is no backlog, since it does not grow with what the reader is behind.
 */
const mostMebibytes = Number(process.versions.node.split('.', 1)[0]) < 24 ? 48 : 112;
const mostGrowth = mostMebibytes * 2 ** 20;

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;
}

/** Writes `bytes`, as fast as it is taken. */
async function pour(sink: Writable, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(1 << 18, 'x');
  for (let sent = 0; sent < bytes; sent += chunk.length) {
    if (!sink.write(chunk)) await once(sink, 'drain');
  }
  sink.end();
}

/** Reads everything, and never as fast as it could come; `onStep` sees now and then how far it is. */
async function sip(source: Readable, onStep: () => void): Promise<number> {
  let read = 0;
  let steps = 0;
  for await (const chunk of source) {
    read += (chunk as Buffer).length;
    if (++steps % 32 !== 0) continue;
    onStep();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return read;
}

describe('1 GiB through the gateway against a slow reader', { skip: existsSync('/proc/self/status') ? false : 'resident memory is read from /proc', timeout: 120_000 }, () => {
  async function withGateway(handler: (incoming: IncomingMessage, respond: Writable) => void, run: (port: number, watch: () => void) => Promise<void>): Promise<void> {
    const origin: Server = createServer(handler).listen(0, '127.0.0.1');
    await once(origin, 'listening');
    const gateway = new TestProcess('gateway/main.js', {
      listen: { port: 0 }, admin: { port: 0 }, routes: [{ upstream: 'origin', timeout: '100s' }],
      upstreams: { origin: { endpoints: [`127.0.0.1:${(origin.address() as AddressInfo).port}`] } },
    });
    try {
      const port = portIn(await gateway.logged('ready'), 'listen');
      // What the code itself takes is there before it is measured.
      for (let warmUp = 0; warmUp < 20; warmUp++) await (await fetch(`http://127.0.0.1:${port}/small`, { method: 'POST', body: 'x' })).text();
      const before = residentBytes(gateway.child.pid!);
      let peak = before;
      await run(port, () => {
        peak = Math.max(peak, residentBytes(gateway.child.pid!));
      });
      assert.ok(peak - before < mostGrowth, `resident memory grew by ${((peak - before) / 2 ** 20).toFixed(1)} MiB`);
    } finally {
      await gateway.stop();
      origin.closeAllConnections();
      origin.close();
    }
  }

  test(`downwards, memory grows by less than ${mostMebibytes} MiB`, () =>
    withGateway(
      (incoming, response) => {
        incoming.resume();
        if (incoming.url === '/small') response.end();
        else void pour(response, total);
      },
      async (port, watch) => {
        const [response] = (await once(request({ port, host: '127.0.0.1', path: '/big' }).end(), 'response')) as [IncomingMessage];
        assert.equal(await sip(response, watch), total);
      },
    ));

  test(`upwards, memory grows by less than ${mostMebibytes} MiB`, () => {
    let watch = (): void => {};
    return withGateway(
      (incoming, response) => {
        if (incoming.url === '/small') incoming.resume().on('end', () => response.end());
        else void sip(incoming, () => watch()).then((bytes) => response.end(String(bytes)), () => response.destroy());
      },
      async (port, measure) => {
        watch = measure;
        const outgoing = request({ port, host: '127.0.0.1', path: '/big', method: 'POST' });
        const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
        // Whoever answers before it has everything is not asked to take the rest.
        void pour(outgoing, total).catch(() => {});
        const [response] = await answered;
        let text = '';
        for await (const chunk of response) text += String(chunk);
        assert.equal(text, String(total));
      },
    );
  });
});
