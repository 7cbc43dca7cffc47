import type { AddressInfo } from 'node:net';
import { failover } from './failover.js';
import { TcpListener } from './tcp-listener.js';
import type { TcpListenerConfig } from '../config/tcp.js';
import type { MtlsMode } from '../config/mtls.js';
import type { UpstreamConfig } from '../config/sections.js';
import { stack, type Layer, type Service } from '../http/service.js';
import type { DataPlane } from '../process/data-plane.js';
import type { Upstream } from '../upstream/upstream.js';

/** The TCP listeners of a proxy. */
export class TcpListeners {
  readonly #listeners = new Map<string, TcpListener>();

  /** `upstreamOf` finds an upstream in the configuration that is in force; `defaultMode` is for listeners that do not say whether they are of the mesh. */
  constructor(configs: readonly TcpListenerConfig[], dataPlane: DataPlane, upstreamOf: (name: string) => Upstream | undefined, defaultMode: (config: TcpListenerConfig) => MtlsMode = () => 'off') {
    if (configs.length === 0) return;
    const { clock } = dataPlane;
    const { onOpen, onOver } = dataPlane.tcp();
    for (const config of configs) {
      const credentials = config.listen.tls && dataPlane.serverCredentials(config.listen.tls);
      const mode = config.mtls ?? defaultMode(config);
      // Off is as if there were no identity: what looks like TLS is the application's own.
      const mesh = mode === 'off' ? undefined : dataPlane.meshListening(config.name, () => mode);
      this.#listeners.set(config.name, new TcpListener({ config, credentials, mesh, clock, open: opener(config, upstreamOf, config.authorization && dataPlane.dependencies.policies.streamAuthorization(config.name, config.authorization)), onRefusal: dataPlane.refusalReport(config.name), onOpen, onOver, onBadHeader: dataPlane.badHeaderReport(config.name) }));
    }
  }

  /** Resolves with the addresses taken, by name. */
  async listen(): Promise<Readonly<Record<string, AddressInfo>>> {
    const addresses: Record<string, AddressInfo> = {};
    for (const [name, listener] of this.#listeners) addresses[name] = await listener.listen();
    return addresses;
  }

  async drain(): Promise<void> {
    await Promise.all([...this.#listeners.values()].map((listener) => listener.drain()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#listeners.values()].map((listener) => listener.close()));
  }
}

/** Puts what a connection passes together once for each version of its upstream. */
function opener({ upstream: name, subset, connectAttempts }: TcpListenerConfig, upstreamOf: (name: string) => Upstream | undefined, authorization: Layer | undefined): () => Service | undefined {
  let last: { readonly upstream: Upstream; readonly service: Service } | undefined;
  return () => {
    const upstream = upstreamOf(name);
    if (upstream === undefined) return (last = undefined);
    if (last?.upstream !== upstream) last = { upstream, service: stack([authorization, failover(connectAttempts, () => Math.max(1, upstream.endpoints.length))], upstream.streamOver(subset)) };
    return last.service;
  };
}

/**
 * The upstreams of a new version, and of those that the file has for TCP listeners what the new version does not have: a control plane
 * knows services, and need not know that a database is behind one of our ports.
 */
export function withStreamUpstreams(upstreams: Readonly<Record<string, UpstreamConfig>>, file: { readonly tcp: readonly TcpListenerConfig[]; readonly upstreams: Readonly<Record<string, UpstreamConfig>> }): Readonly<Record<string, UpstreamConfig>> {
  const kept = file.tcp.flatMap(({ upstream }) => (upstream in file.upstreams ? [[upstream, file.upstreams[upstream]!] as const] : []));
  return { ...Object.fromEntries(kept), ...upstreams };
}

/** Whether it serves those who run beside the proxy, rather than others: who listens where nobody else can reach. */
export function isForApplication({ listen: { host, path } }: TcpListenerConfig): boolean {
  return path !== undefined || host === 'localhost' || host === '::1' || /^127\./.test(host);
}
