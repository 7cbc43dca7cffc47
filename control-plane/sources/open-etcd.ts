import { randomUUID } from 'node:crypto';
import type { EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { EtcdDocument } from './etcd-document.js';
import { EtcdInstances } from './etcd-instances.js';
import { EtcdLeadership } from './etcd-leadership.js';
import { EtcdOnceOnly } from './etcd-once-only.js';
import { EtcdStore, defaultRevisions } from './etcd-store.js';
import { holdProcess } from './hold-process.js';
import type { Sources, SourcesConfig, SourcesContext } from './open-sources.js';
import { measureSources } from './source-metrics.js';

/** Opens the sources that several control planes share. Resolves once etcd has answered, however long that takes. */
export async function openEtcd(etcd: EtcdStoreConfig, { resources, history, leaseGrace, listen }: SourcesConfig, { clock, random, logger, metrics, lifecycle }: SourcesContext): Promise<Sources> {
  const release = holdProcess();
  const client = new EtcdClient(etcd, clock, logger);
  lifecycle.onClose(() => client.close());
  logger.info({ endpoints: etcd.endpoints, prefix: client.prefix }, 'waiting for etcd');
  const id = randomUUID();
  const common = { client, clock, random, logger };
  const closeAtEnd = (part: { close(): Promise<void> }): void => lifecycle.onClose(() => part.close());
  try {
    const store = await EtcdStore.open({ ...common, revisions: history.revisions ?? defaultRevisions, timeoutMs: etcd.timeout, seed: resources }, closeAtEnd);
    const instances = await EtcdInstances.open({ ...common, id, graceMs: leaseGrace }, closeAtEnd);
    const url = etcd.advertise ?? (listen.port === 0 ? undefined : `${listen.isHttps ? 'https' : 'http'}://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`);
    const leadership = new EtcdLeadership({ ...common, id, url, ttlMs: etcd.sessionTtl });
    lifecycle.onDrain(() => leadership.close());
    closeAtEnd(leadership);
    measureSources(metrics, { isAvailable: () => client.isAvailable && store.isLive, leadership });
    return { store, instances, leadership, onceOnly: new EtcdOnceOnly(client, clock), document: (name) => new EtcdDocument(client, name) };
  } finally {
    release();
  }
}
