import { CallFailure, PricingClient } from '../services/pricing/client.js';
import { RedisClient, StoreFailure } from '../services/sessions/redis-client.js';
import type { TrafficClass } from './spec.js';

/** A client of something else than HTTP, which keeps one connection as clients of that kind do. */
export interface LoadClient {
  /** Resolves with what went wrong, if anything did. */
  send(fields: Readonly<Record<string, string>>): Promise<string | undefined>;
  close(): void;
}

/** The client for a class of traffic; undefined for HTTP, which has pools. */
export function clientFor({ protocol, targets, path }: TrafficClass, timeoutMs: number): LoadClient | undefined {
  const addresses = targets.map((target) => new URL(target).host);
  if (protocol === 'grpc') {
    const client = new PricingClient(addresses);
    return {
      send: (fields) => outcome(client.quote(path, { fields, timeoutMs })),
      close: () => void client.close(),
    };
  }
  if (protocol === 'redis') {
    const client = new RedisClient(addresses[0]!, timeoutMs);
    return {
      send: () => outcome(client.send('GET', path).then((value) => value ?? Promise.reject(new StoreFailure('no such key')))),
      close: () => client.close(),
    };
  }
  return undefined;
}

function outcome(answer: Promise<unknown>): Promise<string | undefined> {
  return answer.then(() => undefined, (error: unknown) => (error instanceof CallFailure ? error.code : error instanceof Error ? error.message : 'unknown'));
}
