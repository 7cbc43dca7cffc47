import { FakeClock } from '../../shared/clock/fake-clock.js';
import { DeadlineSweep } from '../../shared/clock/deadline-sweep.js';
import { endpointSchema, type WrittenEndpoint } from '../../shared/config/endpoints.js';
import { upstreamSchema } from '../../shared/config/sections.js';
import type { HttpRequest } from '../../shared/http/message.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import type { Endpoint, Gate } from '../../shared/upstream/endpoint.js';
import { Upstream } from '../../shared/upstream/upstream.js';
import { randomFrom } from '../conformance/generate-case.js';
import { exchange, request, response } from './policy.js';

interface TestUpstreamOptions {
  readonly balance?: object;
  readonly zone?: string;
  readonly seed?: number;
  readonly previous?: TestUpstream;
  readonly more?: object;
}

/** `probed`: half-open, with the probe under way. */
type BreakerState = ReturnType<Gate['state']> | 'probed';

/** An upstream on a fake clock whose endpoints answer at once with their own address, and whose health the test decides. */
export class TestUpstream {
  readonly clock: FakeClock;
  readonly upstream: Upstream;
  readonly random: () => number;
  readonly panics: boolean[] = [];
  readonly #states: Map<string, BreakerState>;

  constructor(endpoints: readonly WrittenEndpoint[], { balance = {}, zone, seed = 1, previous, more = {} }: TestUpstreamOptions = {}) {
    const random = randomFrom(seed);
    this.random = random;
    this.clock = previous?.clock ?? new FakeClock();
    this.#states = previous === undefined ? new Map<string, BreakerState>() : previous.#states;
    const sweep = new DeadlineSweep(this.clock, [1_000]);
    const pems = new PemStore(this.clock);
    this.upstream = new Upstream(
      'origin',
      upstreamSchema.parse({ endpoints, balance, ...more }),
      { clock: this.clock, sweep, random, pems, zone, guard: (endpoint) => this.#guard(endpoint), onPanic: (_upstream, isPanic) => this.panics.push(isPanic) },
      previous?.upstream,
    );
    sweep.close();
    pems.close();
  }

  setEndpoints(endpoints: readonly WrittenEndpoint[]): void {
    this.upstream.setEndpoints(endpoints.map((endpoint) => endpointSchema.parse(endpoint)));
  }

  endpoint(address: string): Endpoint {
    return this.upstream.endpoints.find(({ name }) => name === address)!;
  }

  breaker(address: string, state: BreakerState): void {
    this.#states.set(address, state);
    this.endpoint(address).changed();
  }

  /** Sends one request; resolves with the address of who answered, or rejects. */
  async send(changes: { readonly tried?: readonly string[]; readonly fields?: Readonly<Record<string, string>>; readonly client?: string } & Partial<HttpRequest> = {}, service = this.upstream.balance): Promise<string> {
    const { tried = [], client, ...rest } = changes;
    const one = exchange(client);
    one.tried.push(...tried);
    return (await service(request(one, rest), one)).headers.get('x-endpoint')!;
  }

  /** Sends many, each with a key of its own, and counts who answered. */
  async count(requests: number, service = this.upstream.balance): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (let index = 0; index < requests; index++) {
      const address = await this.send({ fields: { 'x-user': `user-${index}` } }, service);
      counts[address] = (counts[address] ?? 0) + 1;
    }
    return counts;
  }

  #guard(endpoint: Endpoint): void {
    endpoint.service = () => {
      endpoint.latency.reset();
      endpoint.latency.observe(5, this.clock.now());
      return Promise.resolve(response(200, { 'X-Endpoint': endpoint.name }));
    };
    const state = (): BreakerState => this.#states.get(endpoint.name) ?? 'closed';
    endpoint.gate = {
      state: () => {
        const current = state();
        return current === 'probed' ? 'half-open' : current;
      },
      accepts: () => state() === 'closed' || state() === 'half-open',
    };
  }
}

/** The p99.9 quantile of chi-square, by the approximation of Wilson and Hilferty. */
export function chiSquareLimit(degrees: number): number {
  const part = 2 / (9 * degrees);
  return degrees * (1 - part + 3.0902 * Math.sqrt(part)) ** 3;
}

export function chiSquare(observed: readonly number[], expected: readonly number[]): number {
  return observed.reduce((sum, count, index) => sum + (count - expected[index]!) ** 2 / expected[index]!, 0);
}
