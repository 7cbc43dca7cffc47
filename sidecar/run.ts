import { AppHealth } from './app-health.js';
import { inboundPoliciesOf, sidecarDynamicSchema, sidecarSchema, type SidecarConfig } from './config.js';
import { crossCheck } from './cross-check.js';
import { Sidecar } from './sidecar.js';
import { parseConfigInTurns } from '../shared/config/load.js';
import { formatAddress } from '../shared/config/units.js';
import { runProxy } from '../shared/process/run-proxy.js';
import { withStreamUpstreams } from '../shared/tcp/tcp-listeners.js';

await runProxy({
  kind: 'sidecar',
  description: 'The helper: the proxy beside one application.',
  schema: sidecarSchema,
  crossCheck,
  async parseSnapshot(document, config) {
    const { inbound, routes, upstreams } = await parseConfigInTurns(document, sidecarDynamicSchema, (parsed) => crossCheck(parsed, config));
    // Whom to let in is the operator's own word where no policy says otherwise.
    return { inbound: { ...inbound, mtls: inbound.mtls ?? config.inbound?.mtls }, routes, upstreams: withStreamUpstreams(upstreams, config) };
  },
  dynamicOf: ({ inbound, routes, upstreams }) => ({ inbound: inboundPoliciesOf(inbound), routes, upstreams }),
  withDynamic: (config, { inbound, routes, upstreams }) => ({ ...config, ...(config.inbound && { inbound: { ...config.inbound, ...inbound } }), routes, upstreams }),
  httpListeners: ({ inbound, outbound }) => [inbound, outbound].filter((side) => side !== undefined).length,
  create: (config, dataPlane) => Sidecar.create(config, dataPlane),

  async beside(config, { clock, lifecycle }) {
    let health: AppHealth | undefined;
    const watch = async ({ inbound }: SidecarConfig): Promise<void> => {
      const before = health;
      const next = inbound && new AppHealth({ app: inbound.app, path: inbound.health.path, intervalMs: inbound.health.interval, clock });
      await next?.start();
      health = next;
      before?.close();
    };
    lifecycle.onClose(() => health?.close());
    await watch(config);
    const { service, controlPlane } = config;
    if (controlPlane?.advertise === undefined) return { service, reload: watch };
    // A registration stands for the application: it lapses when the application does.
    return { service, registrant: { address: formatAddress(controlPlane.advertise), isHealthy: () => health?.isHealthy === true }, reload: watch };
  },
});
