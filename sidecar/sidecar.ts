import type { AddressInfo } from 'node:net';
import { inboundPoliciesOf, type SidecarConfig, type SidecarDynamicConfig } from './config.js';
import { OutboundPlan } from './outbound/plan.js';
import { InboundPlan, type InboundConfig } from './inbound/plan.js';
import { listenerStack as inboundStack } from './inbound/stack.js';
import { listenerStack as outboundStack } from './outbound/stack.js';
import type { MtlsMode } from '../shared/config/mtls.js';
import type { ListenConfig } from '../shared/config/sections.js';
import type { Service } from '../shared/http/service.js';
import { clientCert } from '../shared/intermediary/client-cert.js';
import { via } from '../shared/intermediary/via.js';
import { viaOnce } from '../shared/intermediary/via-once.js';
import { createListener, type DrainOptions, type Listener } from '../shared/listener/listener.js';
import { isForApplication, TcpListeners } from '../shared/tcp/tcp-listeners.js';
import { overload } from '../shared/policy/overload/overload.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import type { Prepared, Proxy } from '../shared/process/proxy.js';
import { tracing } from '../shared/telemetry/tracing.js';
import type { UpstreamDescription } from '../shared/upstream/upstream-set.js';

interface Side<P> {
  /** None where only TCP listeners lead to its upstreams. */
  readonly listener: Listener | undefined;
  plan: P;
}

/** The helper beside one application: what comes in for it, and what it sends out. */
export class Sidecar implements Proxy<SidecarDynamicConfig> {
  #inbound: Side<InboundPlan> | undefined;
  /** What inbound does with callers that do not prove who they are. */
  #mtls: MtlsMode;
  #outbound: Side<OutboundPlan> | undefined;
  readonly #tcpForOthers: TcpListeners;
  readonly #tcpForApplication: TcpListeners;

  private constructor(
    private readonly config: SidecarConfig,
    private readonly dataPlane: DataPlane,
  ) {
    this.#mtls = this.#modeOf(inboundPoliciesOf(config.inbound));
    // The application beside us proves nothing to us; others do, if we can prove something to them.
    const tcpListeners = (forApplication: boolean): TcpListeners =>
      new TcpListeners(config.tcp.filter((one) => isForApplication(one) === forApplication), dataPlane, (name) => this.#outbound?.plan.upstreams.get(name), ({ listen }) =>
        config.identity !== undefined && listen.tls === undefined && !forApplication ? 'strict' : 'off',
      );
    this.#tcpForOthers = tcpListeners(false);
    this.#tcpForApplication = tcpListeners(true);
  }

  static async create(config: SidecarConfig, dataPlane: DataPlane): Promise<Sidecar> {
    const sidecar = new Sidecar(config, dataPlane);
    const { inbound, outbound } = config;
    if (inbound !== undefined) {
      const plan = await InboundPlan.build(sidecar.#inboundConfig(inbound), dataPlane.dependencies);
      plan.takeOver();
      sidecar.#inbound = await sidecar.#side('inbound', inbound.listen, plan, inboundStack);
    }
    if (outbound !== undefined || config.tcp.length > 0) {
      const plan = await OutboundPlan.build({ ...config, unknownHosts: outbound?.unknownHosts }, dataPlane.dependencies);
      plan.takeOver();
      sidecar.#outbound = outbound === undefined ? { listener: undefined, plan } : await sidecar.#side('outbound', outbound.listen, plan, outboundStack);
    }
    return sidecar;
  }

  async listen(): Promise<Readonly<Record<string, AddressInfo>>> {
    const [inbound, outbound] = [this.#inbound?.listener, this.#outbound?.listener];
    const addresses = {
      ...(inbound && { inbound: await inbound.listen() }),
      ...(outbound && { outbound: await outbound.listen() }),
      ...(await this.#tcpForOthers.listen()),
      ...(await this.#tcpForApplication.listen()),
    };
    for (const address of Object.values(addresses)) this.dataPlane.ownAddresses.add(address);
    return addresses;
  }

  upstreams(): UpstreamDescription[] {
    const now = this.dataPlane.clock.now();
    return [...(this.#inbound?.plan.upstreams.describe(now) ?? []), ...(this.#outbound?.plan.upstreams.describe(now) ?? [])];
  }

  async prepare({ inbound: policies, routes, upstreams }: SidecarDynamicConfig): Promise<Prepared> {
    const { dependencies } = this.dataPlane;
    const [inbound, outbound] = [this.#inbound, this.#outbound];
    const inboundPlan = inbound && (await InboundPlan.build({ ...this.#inboundConfig(this.config.inbound!), policies }, dependencies, inbound.plan));
    let outboundPlan: OutboundPlan | undefined;
    try {
      outboundPlan = outbound && (await OutboundPlan.build({ routes, upstreams, unknownHosts: this.config.outbound?.unknownHosts }, dependencies, outbound.plan));
    } catch (error) {
      inboundPlan?.retire(inbound?.plan);
      throw error;
    }
    return {
      commit: () => {
        const before = this.#mtls;
        this.#mtls = this.#modeOf(policies);
        if (this.#mtls === 'strict' && before !== 'strict') inbound?.listener?.endPlaintext?.();
        replace(inbound, inboundPlan);
        replace(outbound, outboundPlan);
      },
      discard: () => {
        inboundPlan?.retire(inbound?.plan);
        outboundPlan?.retire(outbound?.plan);
      },
    };
  }

  /** Takes no more calls from outside, finishes those in flight, and only then stops serving the application's own, unless another process does. */
  async drain(options: DrainOptions = {}): Promise<void> {
    this.dataPlane.dependencies.watches.endChecks();
    const forOthers = Promise.all([this.#inbound?.listener?.drain(options), this.#tcpForOthers.drain()]);
    if (options.isReplaced !== true) await forOthers;
    await Promise.all([forOthers, this.#outbound?.listener?.drain(options), this.#tcpForApplication.drain()]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#inbound?.listener?.close(), this.#tcpForOthers.close()]);
    await Promise.all([this.#outbound?.listener?.close(), this.#tcpForApplication.close()]);
    this.#inbound?.plan.retire();
    this.#outbound?.plan.retire();
  }

  /** TLS that is configured at the listener takes its port: the mesh has no part in it. */
  #modeOf({ mtls }: SidecarDynamicConfig['inbound']): MtlsMode {
    const { identity, inbound } = this.config;
    return mtls ?? (identity !== undefined && inbound?.listen.tls === undefined ? 'strict' : 'off');
  }

  #inboundConfig(inbound: NonNullable<SidecarConfig['inbound']>): InboundConfig {
    const { app, connectTimeout, idleTimeout, protocol } = inbound;
    return { service: this.config.service, app, connectTimeout, idleTimeout, protocol, policies: inboundPoliciesOf(inbound) };
  }

  async #side<P extends { readonly route: Service }>(name: string, listen: ListenConfig, plan: P, listenerStack: typeof inboundStack): Promise<Side<P>> {
    const { config, dataPlane } = this;
    const layers = { ...dataPlane.layers(name), clientCert, tracing: tracing({ trustRequestId: true }), overload: overload(config.limits.maxInFlight), via: name === 'outbound' ? viaOnce(config.via, { instance: dataPlane.instance, maxEarlier: 0 }) : via(config.via) };
    const current = { plan };
    const listener = await createListener({
      name,
      listen,
      credentials: listen.tls && dataPlane.serverCredentials(listen.tls),
      mesh: name === 'inbound' && listen.tls === undefined ? dataPlane.meshListening(name, () => this.#mtls) : undefined,
      limits: config.limits,
      clock: dataPlane.clock,
      service: listenerStack(layers, (request, exchange) => current.plan.route(request, exchange)),
      refuse: listenerStack(layers, (request) => Promise.reject(request.cancellation.reason)),
      onConnection: dataPlane.connectionGauge(name),
      onRefusal: dataPlane.refusalReport(name),
      onBadHeader: dataPlane.badHeaderReport(name),
      onFlood: dataPlane.floodReport(name),
    });
    return Object.assign(current, { listener });
  }
}

function replace<P extends { takeOver(previous: P): void }>(side: Side<P> | undefined, plan: P | undefined): void {
  if (side === undefined || plan === undefined) return;
  const previous = side.plan;
  side.plan = plan;
  plan.takeOver(previous);
}
