import type { Contender } from '../contender.js';
import { gateway } from './plain-hop.js';

/* One gateway for each feature, which has it and nothing else beside what is always on. */

interface FeatureFiles {
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
}

/** Part of a route or of an upstream that switches the feature on. */
interface Setting {
  readonly route?: Readonly<Record<string, unknown>>;
  readonly upstream?: Readonly<Record<string, unknown>>;
  readonly process?: Readonly<Record<string, unknown>>;
}

/** What a service in a mesh has: two things that nobody may do, and who may do the rest. */
const authorization = {
  rules: [
    { name: 'no-internals', action: 'deny', paths: ['/internal', '/admin'] },
    { name: 'no-deletes', action: 'deny', methods: ['DELETE'] },
    { name: 'writers', action: 'allow', methods: ['POST', 'PUT'], paths: ['/orders'] },
    { name: 'readers', action: 'allow', methods: ['GET', 'HEAD'], paths: ['/'] },
  ],
};

/** The first is the hop without any. */
export function features({ jwks, issuer, audience }: FeatureFiles): readonly Contender[] {
  const settings: readonly (readonly [name: string, setting: Setting])[] = [
    ['plain hop', {}],
    ['without access log', { process: { accessLog: false } }],
    ['the time left told upstream', { upstream: { propagateDeadline: true } }],
    ['jwt (tokens seen before)', { route: { jwt: { issuer, audience, jwks, algorithms: ['RS256'] } } }],
    ['authorization (4 rules)', { route: { authorization } }],
    ['rateLimit', { route: { rateLimit: { max: 1_000_000_000, timeWindow: '1m' } } }],
    ['headers', { route: { headers: { request: { set: { 'X-Tier': 'gold' } }, response: { remove: ['server'] } } } }],
    ['rewrite', { route: { rewrite: { prefix: '/v2' } } }],
    ['split', { route: { split: [{ upstream: 'origin', weight: 90 }, { upstream: 'other', weight: 10 }] } }],
    ['mirror of 1 %', { route: { mirror: { upstream: 'other', percent: 1 } } }],
    ['fault that hits nobody', { route: { fault: { abort: { status: 503, percent: 0 } } } }],
    ['adaptiveConcurrency', { upstream: { adaptiveConcurrency: { minLimit: 200, initialLimit: 200 } } }],
    ['retry', { upstream: { retry: {} } }],
    ['hedge', { upstream: { hedge: { delay: '1s' } } }],
    ['attemptTimeout', { upstream: { attemptTimeout: '1s' } }],
    ['breaker', { upstream: { breaker: {} } }],
    ['outlierDetection', { upstream: { outlierDetection: {} } }],
    ['healthCheck', { upstream: { healthCheck: {} } }],
    ['limits', { upstream: { limits: { maxRequests: 10_000, maxConnections: 10_000 } } }],
    ['ring-hash', { upstream: { balance: { algorithm: 'ring-hash', hash: 'path' } } }],
  ];
  return settings.map(([name, { route = {}, upstream = {}, process = {} }]) => ({
    ...gateway({ name }),
    launch: (place) => {
      const endpoints = place.origins.map((port) => `127.0.0.1:${port}`);
      return gateway({
        extra: {
          routes: [{ ...('split' in route ? {} : { upstream: 'origin' }), ...route }],
          upstreams: { origin: { endpoints, ...upstream }, other: { endpoints } },
          ...process,
        },
      }).launch(place);
    },
  }));
}
