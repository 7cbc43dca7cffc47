import type { Clock } from '../../shared/clock/clock.js';
import type { EtcdClient } from './etcd-client.js';
import { unchanged } from './etcd-mirror.js';
import { digestOf, type OnceOnly } from './once-only.js';

/**
 * How much longer than it is good an id is remembered (ms): the other control planes' clocks may be behind this one's, and
 * would take it for good when it is forgotten here.
 */
const clockSkewMs = 600_000;

/**
 * In etcd: a key for each id, as its digest, created by whoever is first, on a lease that ends when the id is good for nothing.
 *
 * When etcd's answer is lost the id counts as used, and the caller is told that it cannot be known: never the other way round.
 */
export class EtcdOnceOnly implements OnceOnly {
  constructor(
    private readonly client: EtcdClient,
    private readonly clock: Clock,
  ) {}

  async use(id: string, expiresAt: number): Promise<boolean> {
    const leftMs = expiresAt - this.clock.wallNow();
    if (leftMs <= 0) return false;
    const key = `${this.client.prefix}/used/${digestOf(id)}`;
    // Who comes again and again leaves no lease behind each time.
    const { kvs } = await this.client.range({ key: Buffer.from(key) });
    if (kvs.length > 0) return false;
    const lease = await this.client.grant(leftMs + clockSkewMs);
    const { succeeded } = await this.client.txn({ compare: [unchanged(key, 0)], success: [{ request_put: { key: Buffer.from(key), value: Buffer.from(String(expiresAt)), lease: lease.id } }] });
    if (!succeeded) await this.client.revoke(lease.id);
    return succeeded;
  }
}
