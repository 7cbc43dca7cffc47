import assert from 'node:assert/strict';
import { generateKeyPair, exportJWK, SignJWT } from 'jose';
import { test } from 'node:test';
import { TestDnsServer } from '../../../tests/support/dns-server.js';
import { httpOrigin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { until } from '../../../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };

/** Asks on connections of their own, which go to the workers in turn. */
async function statusesOf(port: number, headers: Record<string, string> = {}): Promise<number[]> {
  const all: number[] = [];
  for (let count = 0; count < 4; count++) all.push((await fetch(`http://127.0.0.1:${port}/`, { headers: { ...headers, connection: 'close' } })).status);
  return all;
}

/** Reloads a gateway with two workers, and kills two after it: the third knows from the first two, the fifth from the fourth. */
async function replaceWorkers(gateway: TestProcess, config: object, check: () => Promise<void>): Promise<void> {
  gateway.reload(config);
  await gateway.logged('reloaded');
  await check();
  for (const count of [3, 4]) {
    process.kill(Number((await gateway.logged('a worker has started', count))['workerPid']), 'SIGKILL');
    await gateway.logged('a worker has started', count + 2);
  }
  await check();
}

test('keys of an issuer that is away go on, in the workers of a reload and in those that replace others', async (context) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const keys = [{ ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256' }];
  const token = await new SignJWT({ sub: 'me' }).setProtectedHeader({ alg: 'ES256', kid: 'a' }).setIssuer('https://issuer.test').setAudience('shop').setExpirationTime('1h').sign(privateKey);
  let isAway = false;
  const issuer = await httpOrigin((_request, response) => void response.writeHead(isAway ? 500 : 200).end(JSON.stringify({ keys })));
  const origin = await httpOrigin((_request, response) => response.end());
  context.after(() => Promise.all([issuer.close(), origin.close()]));
  const config = (connectTimeout: string): object => ({
    listen,
    workers: 2,
    routes: [{ upstream: 'shop', jwt: { issuer: 'https://issuer.test', audience: 'shop', jwksUri: `http://127.0.0.1:${issuer.port}/`, algorithms: ['ES256'] } }],
    upstreams: { shop: { endpoints: [`127.0.0.1:${origin.port}`], connectTimeout } },
  });
  const gateway = new TestProcess('gateway/main.js', config('5s'));
  context.after(() => gateway.child.kill('SIGKILL'));
  const port = portIn(await gateway.logged('ready'), 'listen');
  const well = async (): Promise<void> => assert.deepEqual(await statusesOf(port, { authorization: `Bearer ${token}` }), [200, 200, 200, 200]);
  await well();
  isAway = true;
  await replaceWorkers(gateway, config('6s'), well);
});

test('endpoints that were found go on while the resolver is away, in the workers of a reload and in those that replace others', async (context) => {
  const origin = await httpOrigin((_request, response) => response.end());
  const dns = await TestDnsServer.start();
  context.after(() => Promise.all([origin.close(), dns.close()]));
  dns.set('A', 'shop.test', ['127.0.0.1']);
  const config = (connectTimeout: string): object => ({
    listen,
    workers: 2,
    routes: [{ upstream: 'shop' }],
    upstreams: { shop: { discovery: { dns: { name: 'shop.test', port: origin.port, family: 'ipv4', resolver: [`127.0.0.1:${dns.port}`] } }, connectTimeout } },
  });
  const gateway = new TestProcess('gateway/main.js', config('5s'));
  context.after(() => gateway.child.kill('SIGKILL'));
  const port = portIn(await gateway.logged('ready'), 'listen');
  await until(async () => (await statusesOf(port)).every((status) => status === 200));
  dns.silent = true;
  await replaceWorkers(gateway, config('6s'), async () => assert.deepEqual(await statusesOf(port), [200, 200, 200, 200]));
});
