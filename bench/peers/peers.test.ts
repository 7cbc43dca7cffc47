import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { get as getTls } from 'node:https';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { httpOrigin } from '../../tests/support/origin.js';
import { until } from '../../tests/support/until.js';
import type { Contender } from '../contender.js';
import { makeCredentials } from '../credentials.js';
import { Bench, type Running } from '../measure.js';
import { edgeContenders } from './edge.js';
import { gateway, haproxy, nginx } from './plain-hop.js';
import { pairContenders } from './sidecar-pair.js';

const credentials = await makeCredentials();
process.once('exit', () => credentials.remove());

/** What the upstream gets of one request by way of a contender, and what the contender logs of it, a line for each hop. */
async function seen(context: TestContext, contender: Contender, send: (running: Running) => ReturnType<typeof get>): Promise<{ readonly fields: IncomingHttpHeaders; readonly lines: readonly Record<string, unknown>[] }> {
  const fields: IncomingHttpHeaders[] = [];
  const origin = await httpOrigin((request, response) => {
    fields.push(request.headers);
    response.end('{}');
  });
  const bench = new Bench();
  context.after(() => {
    bench.close();
    return origin.close();
  });
  let directory = '';
  const running = await bench.launch({ ...contender, launch: (place) => contender.launch({ ...place, directory: (directory = place.directory) }) }, [origin.port]);
  const [response] = (await once(send(running), 'response')) as [IncomingMessage];
  response.resume();
  assert.equal(response.statusCode, 200);
  const lines = (): string[] => readdirSync(directory).filter((name) => name.endsWith('.log') && existsSync(join(directory, name))).flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n')).filter((line) => line.includes('orders'));
  await until(() => lines().length === contender.hops);
  return { fields: fields[0]!, lines: lines().map((line) => JSON.parse(line) as Record<string, unknown>) };
}

const path = '/orders/7?x=1';
const plain = ({ port }: Running): ReturnType<typeof get> => get({ host: '127.0.0.1', port, path, headers: { host: 'server' } });
const withToken = ({ port }: Running): ReturnType<typeof get> => getTls({ host: '127.0.0.1', port, path, servername: 'localhost', ca: readFileSync(credentials.ca), headers: { authorization: credentials.tokens[3]!.slice('Authorization: '.length) } });

const [ourEdge, haproxyEdge] = edgeContenders(credentials.edge);
const [ourPair, haproxyPair] = pairContenders(credentials.pair);
const peers: readonly (readonly [job: string, ours: Contender, peer: Contender, send: typeof plain])[] = [
  ['plain hop', gateway(), nginx, plain],
  ['plain hop', gateway(), haproxy, plain],
  ['edge', ourEdge!, haproxyEdge!, withToken],
  ['sidecar pair', ourPair!, haproxyPair!, plain],
];
for (const [job, ours, peer, send] of peers) {
  test(`${job}: ${peer.name} forwards and logs what ours does`, { skip: !peer.isInstalled && `${peer.name} is not installed` }, async (context) => {
    const [own, other] = [await seen(context, ours, send), await seen(context, peer, send)];
    for (const name of ['x-request-id', 'via', 'traceparent', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host']) assert.equal(other.fields[name] === undefined, own.fields[name] === undefined, name);
    assert.match(String(other.fields['traceparent']), /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/);
    for (const line of other.lines) {
      // HAProxy counts those after the first.
      for (const name of Object.keys(own.lines[0]!)) assert.ok(name in line || (name === 'attempts' && 'retries' in line), `no ${name}`);
      assert.equal(line['path'], path.split('?')[0]);
      assert.equal(line['traceId'], String(other.fields['traceparent']).split('-')[1]);
      assert.deepEqual([line['status'], line['caller']], [200, own.lines[0]!['caller']]);
    }
  });
}
