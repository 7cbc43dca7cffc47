import type { AddressInfo } from 'node:net';
import type { z } from 'zod';
import type { IdentityConfig } from '../config/identity.js';
import type { CrossCheck } from '../config/load.js';
import type { ControlPlaneConfig, LimitsConfig, UpstreamConfig } from '../config/sections.js';
import type { TcpListenerConfig } from '../config/tcp.js';
import type { DrainOptions } from '../listener/listener.js';
import type { UpstreamDescription } from '../upstream/upstream-set.js';
import type { DataPlane } from './data-plane.js';
import type { ProcessConfig, ProcessContext } from './run-process.js';

/** Listeners and what stands behind them: the gateway, or a sidecar. */
export interface Proxy<Dynamic> {
  /** Opens the listeners; resolves with the addresses they took, by their names in the configuration. */
  listen(): Promise<Readonly<Record<string, AddressInfo>>>;
  /** Builds what can be exchanged, and changes nothing yet. Rejects, with nothing left open, if it cannot be built. One at a time: the next once this one is settled. */
  prepare(dynamic: Dynamic): Promise<Prepared>;
  upstreams(): UpstreamDescription[];
  /** Stops accepting and resolves when the last exchange is over. */
  drain(options?: DrainOptions): Promise<void>;
  /** Breaks off whatever is left. */
  close(): Promise<void>;
}

/** A version of the configuration that is built, and not in force. It is settled once, one way or the other. */
export interface Prepared {
  /** Puts it in force; requests in flight finish on the old one. */
  commit(): void;
  /** Closes what it did not take over. */
  discard(): void;
}

/** What both proxies configure. */
export interface ProxyConfig extends ProcessConfig, Shared {
  readonly workers: number | 'auto';
  readonly zone?: string | undefined;
  readonly identity?: IdentityConfig | undefined;
  readonly admin: { readonly host: string; readonly port: number };
  readonly controlPlane?: ControlPlaneConfig | undefined;
  /** The service beside it; a gateway is `gateway`. */
  readonly service?: string;
  readonly accessLog: boolean;
  readonly limits: LimitsConfig;
}

/** The part of a configuration, or of a snapshot, whose numbers hold for a proxy as a whole. */
export interface Shared {
  readonly limits?: LimitsConfig;
  readonly tcp?: readonly TcpListenerConfig[];
  readonly upstreams: Readonly<Record<string, UpstreamConfig>>;
}

/** An instance that a proxy keeps in the registry: its address, and whether it is to be there. */
interface Registrant {
  readonly address: string;
  readonly isHealthy: () => boolean;
}

/** One of the two deployables, as the process that runs it sees it. */
export interface ProxyDefinition<Config extends ProxyConfig, Dynamic extends Shared> {
  readonly kind: 'gateway' | 'sidecar';
  readonly description: string;
  readonly schema: z.ZodType<Config>;
  readonly crossCheck: CrossCheck;
  /** Reads what a control plane sends, for a proxy of this configuration (the file's), with what stays the file's own of the part that it replaces. Rejects with a `ConfigError` that names every problem. */
  readonly parseSnapshot: (document: unknown, config: Config) => Promise<Dynamic>;
  /** The part of the file that a snapshot replaces. */
  readonly dynamicOf: (config: Config) => Dynamic;
  /** The file with that part replaced. */
  readonly withDynamic: (config: Config, dynamic: Dynamic) => Config;
  /** How many listeners have the limits of connections of HTTP, each for itself. */
  readonly httpListeners: (config: Config) => number;
  readonly create: (config: Config, dataPlane: DataPlane) => Promise<Proxy<Dynamic>>;
  /** What runs once beside the proxy, however many workers there are. */
  readonly beside?: (config: Config, context: ProcessContext<Config>) => Promise<Beside<Config>>;
}

interface Beside<Config> {
  readonly service: string;
  readonly registrant?: Registrant | undefined;
  /** Goes on by the file that is in force now. */
  readonly reload: (config: Config) => Promise<void>;
}
