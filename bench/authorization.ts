import { authorizationSchema } from '../shared/config/authorization.js';
import { emptyBody } from '../shared/http/body.js';
import { Exchange } from '../shared/http/exchange.js';
import { Headers } from '../shared/http/headers.js';
import type { HttpRequest, HttpResponse } from '../shared/http/message.js';
import type { Layer } from '../shared/http/service.js';
import { authorization } from '../shared/policy/authorization/authorization.js';

/*
 * What it costs to ask whether a request may: CPU time and memory of one that may, beside a layer that asks nothing, in turns.
 * `node --expose-gc dist/bench/authorization.js`; without the flag memory is not measured.
 */

const samples = 1_000_000;
const rounds = 7;
const id = (service: string): string => `spiffe://shop/ns/default/sa/${service}`;
const reader = { name: 'readers', action: 'allow', methods: ['GET', 'HEAD'], paths: ['/stock'], from: { identities: [id('orders'), 'spiffe://shop/ns/batch/*'] }, claims: { scope: ['read'] } };
const mesh = [
  { name: 'no-internals', action: 'deny', paths: ['/internal', '/admin'], from: { notIdentities: [id('ops')] } },
  { name: 'no-deletes', action: 'deny', methods: ['DELETE'], notClaims: { 'realm.roles': ['admin'] } },
  { name: 'writers', action: 'allow', methods: ['POST'], paths: ['/reservations'], from: { identities: [id('checkout')] } },
  reader,
];
const others = Array.from({ length: 15 }, (_, index) => ({ name: `other-${index}`, action: 'allow', methods: ['GET'], paths: [`/s${index}`], from: { identities: [id(`s${index}`)] } }));
const one = (conditions: object): Layer => layerOf([{ name: 'a', action: 'allow', ...conditions }]);

function layerOf(rules: readonly object[]): Layer {
  return authorization(authorizationSchema.parse({ rules }), { tally: () => ({ count: 0 }) });
}

const cases: readonly (readonly [name: string, layer: Layer, path?: string])[] = [
  ['a layer that asks nothing', (next) => (request, exchange) => next(request, exchange)],
  ['one rule: methods', one({ methods: ['GET'] })],
  ['2 deny and 2 allow rules: identity, method, path, scope', layerOf(mesh)],
  ['the same, an escape in the path', layerOf(mesh), '/stock/7%21'],
  ['16 allow rules, of which the last matches', layerOf([...others, reader])],
  ['one rule: a field', one({ headers: { 'x-tenant': { prefix: 'eu-' } } })],
  ['one rule: a pattern', one({ paths: [{ regex: '/stock/[0-9]+' }] })],
  ['one rule: a network', one({ from: { addresses: ['10.0.0.0/8'] } })],
];

const exchange = new Exchange('bench', '10.0.0.7', 0);
exchange.peer = { id: id('orders'), trustDomain: 'shop', namespace: 'default', service: 'orders' };
exchange.caller = { subject: 'alice', scopes: new Set(['read']), claims: { realm: { roles: ['user'] } } };
const response = Promise.resolve({} as HttpResponse);
const asked = cases.map(([name, layer, path = '/stock/7']) => {
  const request: HttpRequest = { method: 'GET', target: path, path, authority: 'inventory', scheme: 'http', headers: Headers.of({ host: 'inventory', 'x-tenant': 'eu-1' }), body: emptyBody, cancellation: exchange.cancellation };
  const service = layer(() => response);
  const ask = (times: number): void => {
    for (let index = 0; index < times; index++) void service(request, exchange);
  };
  return { name, ask, best: Infinity };
});

for (let round = 0; round <= rounds; round++) {
  for (const one of asked) {
    const before = process.cpuUsage();
    one.ask(samples);
    const { user, system } = process.cpuUsage(before);
    if (round > 0) one.best = Math.min(one.best, ((user + system) * 1_000) / samples);
  }
}
if (exchange.refusal !== undefined) throw new Error(`the rule "${exchange.refusal.rule}" refused: what was measured is not what was meant`);
for (const { name, ask, best } of asked) {
  const few = 20_000;
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  ask(few);
  const bytes = globalThis.gc === undefined ? '' : `${Math.round((process.memoryUsage().heapUsed - before) / few)} bytes`.padStart(12);
  console.log(`${name.padEnd(58)}${best.toFixed(0).padStart(6)} ns  x${(best / asked[0]!.best).toFixed(1).padEnd(6)}${bytes}`);
}
