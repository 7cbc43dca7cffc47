import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Policy } from '../../control-plane/model/resources.js';
import { httpOrigin, type Origin } from '../support/origin.js';
import { place } from './placed.js';
import { TokenIssuer } from './tokens.js';

/*
 * One policy, written once: what moves it from the gateway to the sidecar is its `placement`, and the decisions are the same. All
 * proxies are there in each placement, so what differs is who refuses.
 */

let app: Origin;
let served: string[] = [];
let issuer: TokenIssuer;
before(async () => {
  issuer = await TokenIssuer.create();
  app = await httpOrigin((request, response) => {
    served.push(`${request.method} ${request.url}`);
    response.end('stock');
  });
});
after(() => app.close());

const placements = ['ambassador', 'sidecar', 'both', 'none'] as const;
const problem = (body: string): Record<string, unknown> => JSON.parse(body) as Record<string, unknown>;

describe('who may do what', () => {
  const spec = (): Policy['spec'] => ({
    jwt: issuer.policy as NonNullable<Policy['spec']['jwt']>,
    authorization: {
      rules: [
        { name: 'no-deletes', action: 'deny', methods: ['DELETE'], notClaims: { 'realm.roles': ['admin'] } },
        { name: 'no-internals', action: 'deny', paths: ['/internal'] },
        { name: 'readers', action: 'allow', methods: ['GET', 'HEAD'], paths: ['/stock'], claims: { scope: 'read' } },
        { name: 'tenants', action: 'allow', headers: { 'X-Tenant': { prefix: 'eu-' } }, paths: [{ regex: '/orders/[0-9]+' }], from: { addresses: ['127.0.0.0/8'] } },
        { name: 'admins', action: 'allow', claims: { 'realm.roles': ['admin'] } },
      ],
    },
  });
  const reader = { scope: 'openid read' };
  const admin = { realm: { roles: ['user', 'admin'] } };
  const requests: readonly (readonly [name: string, claims: object, method: string, target: string, fields: Record<string, string>, refusedBy: string | undefined])[] = [
    ['a reader reads', reader, 'GET', '/stock/7', {}, undefined],
    ['a reader does not write', reader, 'POST', '/stock/7', {}, 'default'],
    ['a reader reads nothing else', reader, 'GET', '/stocks', {}, 'default'],
    ['a reader does not delete', reader, 'DELETE', '/stock/7', {}, 'no-deletes'],
    ['who has no scope does not read', {}, 'GET', '/stock/7', {}, 'default'],
    ['an admin deletes', admin, 'DELETE', '/stock/7', {}, undefined],
    ['an admin sees no internals', admin, 'GET', '/internal/dump', {}, 'no-internals'],
    ['nor by another spelling', admin, 'GET', '/x/..//%69nternal;a=b/dump', {}, 'no-internals'],
    ['nor with an absolute target', admin, 'GET', 'http://inventory/internal', {}, 'no-internals'],
    ['a tenant sees an order', {}, 'GET', '/orders/7', { 'X-Tenant': 'eu-1' }, undefined],
    ['another does not', {}, 'GET', '/orders/7', { 'X-Tenant': 'us-1' }, 'default'],
    ['nor behind a line break', {}, 'GET', '/orders/7%0A', { 'X-Tenant': 'eu-1' }, 'default'],
  ];
  for (const placement of placements) {
    test(placement, async (context) => {
      const { gateway, sidecar, send } = await place(context, placement, spec(), app.port);
      served = [];
      const decided = [];
      for (const [name, claims, method, target, fields] of requests) {
        const { status, body } = await send({ method, target, fields: { Authorization: `Bearer ${await issuer.token({ ...claims })}`, ...fields } });
        if (status === 403) assert.deepEqual(Object.keys(problem(body)).sort(), ['code', 'detail', 'requestId', 'status', 'title', 'type'], 'the caller is told nothing of rules');
        decided.push([name, status, status === 403 ? problem(body)['code'] : undefined]);
      }
      assert.deepEqual(decided, requests.map(([name, , , , , refusedBy]) => (placement === 'none' || refusedBy === undefined ? [name, 200, undefined] : [name, 403, 'access_denied'])));
      assert.equal(served.length, decided.filter(([, status]) => status === 200).length, 'what was refused never reached the application');
      const refusals = async ({ process }: typeof gateway, count: number) => (await process.accessLog(count)).map(({ code, flags, authz, authzRule }) => (code === undefined ? undefined : [code, flags, authz, authzRule]));
      const expected = requests.map(([, , , , , rule]) => (rule === undefined ? undefined : ['access_denied', 'UAEX', 'refused', rule]));
      if (placement === 'ambassador' || placement === 'both') assert.deepEqual(await refusals(gateway, requests.length), expected);
      if (placement === 'sidecar') assert.deepEqual(await refusals(sidecar, requests.length), expected);
      const metric = (scope: string): RegExp => new RegExp(`^proxy_authorization_total\\{scope="${scope}",decision="denied",rule="no-internals"\\} 3$`, 'm');
      if (placement === 'ambassador' || placement === 'both') assert.match(await gateway.metrics(), metric('route stock'));
      if (placement === 'sidecar') assert.match(await sidecar.metrics(), metric('inbound'));
    });
  }
});

describe('who the caller is', () => {
  test('is decided alike in both placements, with the same words', async (context) => {
    const spec = { jwt: { ...issuer.policy, requiredScopes: ['read'] } as NonNullable<Policy['spec']['jwt']> };
    const [ambassador, sidecar] = await Promise.all((['ambassador', 'sidecar'] as const).map((placement) => place(context, placement, spec, app.port)));
    for (const [name, value, code] of await issuer.refused()) {
      const [there, here] = await Promise.all([ambassador!, sidecar!].map(({ send }) => send({ fields: { Authorization: value } })));
      assert.equal(problem(there!.body)['code'], code, name);
      assert.equal(there!.status, here!.status, name);
      assert.deepEqual({ ...problem(there!.body), requestId: '' }, { ...problem(here!.body), requestId: '' }, name);
      assert.equal(/^www-authenticate:.*$/im.exec(there!.head)?.[0], /^www-authenticate:.*$/im.exec(here!.head)?.[0], name);
    }
    const fields = { Authorization: `Bearer ${await issuer.token({ scope: 'read' })}` };
    for (const { send } of [ambassador!, sidecar!]) assert.equal((await send({ fields })).status, 200);
    assert.ok((await sidecar!.gateway.process.accessLog(1)).every(({ caller }) => caller === undefined), 'the gateway asked nobody for a token');
  });
});

describe('a dry run', () => {
  for (const placement of ['ambassador', 'sidecar'] as const) {
    test(`refuses nobody, and says in log and metrics whom it would: ${placement}`, async (context) => {
      const { gateway, sidecar, send } = await place(context, placement, { authorization: { dryRun: true, rules: [{ name: 'reads', action: 'allow', methods: ['GET'] }] } }, app.port);
      assert.deepEqual([(await send()).status, (await send({ method: 'PUT' })).status], [200, 200]);
      const guard = placement === 'ambassador' ? gateway : sidecar;
      const [read, written] = await guard.process.accessLog(2);
      assert.deepEqual([read!['authz'], written!['authz'], written!['authzRule'], written!['code'], written!['flags'], written!['status']], [undefined, 'would refuse', 'default', undefined, undefined, 200]);
      const scope = placement === 'ambassador' ? 'route stock' : 'inbound';
      const metrics = await guard.metrics();
      assert.ok(metrics.includes(`proxy_authorization_total{scope="${scope}",decision="allowed",rule="reads"} 1\n`), metrics);
      assert.ok(metrics.includes(`proxy_authorization_total{scope="${scope}",decision="would_deny",rule="default"} 1\n`), metrics);
    });
  }
});

test('what is refused uses up nobody’s quota', async (context) => {
  const { send } = await place(context, 'sidecar', { rateLimit: { max: 2, timeWindow: '1h' }, authorization: { rules: [{ name: 'reads', action: 'allow', methods: ['GET'] }] } }, app.port);
  const statuses = [];
  for (const method of ['PUT', 'PUT', 'PUT', 'GET', 'GET', 'GET', 'PUT']) statuses.push((await send({ method })).status);
  assert.deepEqual(statuses, [403, 403, 403, 200, 200, 429, 403]);
});
