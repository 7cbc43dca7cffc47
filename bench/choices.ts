import { systemClock } from '../shared/clock/clock.js';
import { DeadlineSweep } from '../shared/clock/deadline-sweep.js';
import { upstreamSchema } from '../shared/config/sections.js';
import { emptyBody } from '../shared/http/body.js';
import { Exchange } from '../shared/http/exchange.js';
import { Headers } from '../shared/http/headers.js';
import type { HttpRequest, HttpResponse } from '../shared/http/message.js';
import { PemStore } from '../shared/tls/pem-store.js';
import { Upstream } from '../shared/upstream/upstream.js';

/*
 * What the choice of an endpoint costs: ns per `balance`, with nothing behind it. `node dist/bench/choices.js [ALGORITHM…]`
 */

const balances: Readonly<Record<string, object>> = {
  'peak-ewma': { algorithm: 'peak-ewma' },
  'least-request': { algorithm: 'least-request' },
  'round-robin': { algorithm: 'round-robin' },
  random: { algorithm: 'random' },
  'ring-hash': { algorithm: 'ring-hash', hash: { header: 'x-user' } },
};
const counts = [1, 3, 100, 1_000];
const samples = 300_000;
const response = Promise.resolve({} as HttpResponse);

function nanosecondsPerChoice(balance: object, count: number, weightOf: (index: number) => number): number {
  const endpoints = Array.from({ length: count }, (_, index) => ({ address: `10.0.${index >> 8}.${index & 255}:80`, weight: weightOf(index) }));
  const pems = new PemStore(systemClock);
  const sweep = new DeadlineSweep(systemClock, [1_000]);
  const upstream = new Upstream('origin', upstreamSchema.parse({ endpoints, balance }), { clock: systemClock, sweep, random: Math.random, pems, guard: (endpoint) => (endpoint.service = () => response) });
  for (const { latency } of upstream.endpoints) latency.observe(5 + Math.random(), systemClock.now());
  const exchange = new Exchange('bench', '192.0.2.1', 0);
  const requests = Array.from({ length: 64 }, (_, index): HttpRequest => ({
    method: 'GET', target: '/', path: '/', authority: 'shop', scheme: 'http', headers: Headers.of({ accept: '*/*', 'x-user': `user-${index}` }), body: emptyBody, cancellation: exchange.cancellation,
  }));
  const run = (): number => {
    const startedAt = performance.now();
    for (let index = 0; index < samples; index++) {
      exchange.tried.length = 0;
      void upstream.balance(requests[index & 63]!, exchange);
    }
    return ((performance.now() - startedAt) * 1e6) / samples;
  };
  run();
  const best = Math.min(run(), run(), run(), run(), run());
  sweep.close();
  pems.close();
  return best;
}

const wanted = process.argv.slice(2);
for (const [name, balance] of Object.entries(balances).filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
  const even = counts.map((count) => nanosecondsPerChoice(balance, count, () => 1).toFixed(0).padStart(6));
  const weighted = counts.map((count) => nanosecondsPerChoice(balance, count, (index) => 1 + (index % 3)).toFixed(0).padStart(6));
  console.log(`${name.padEnd(14)} ${counts.map((count) => String(count)).join('/')}: even ${even.join('')}   weights 1:2:3 ${weighted.join('')}`);
}
