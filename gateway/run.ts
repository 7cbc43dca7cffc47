import { gatewayDynamicSchema, gatewaySchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { Gateway } from './gateway.js';
import { parseConfigInTurns } from '../shared/config/load.js';
import { runProxy } from '../shared/process/run-proxy.js';
import { withStreamUpstreams } from '../shared/tcp/tcp-listeners.js';

await runProxy({
  kind: 'gateway',
  description: 'The ambassador: the proxy at the edge of the system.',
  schema: gatewaySchema,
  crossCheck,
  async parseSnapshot(document, config) {
    const { routes, upstreams } = await parseConfigInTurns(document, gatewayDynamicSchema, (parsed) => crossCheck(parsed, { running: config }));
    return { routes, upstreams: withStreamUpstreams(upstreams, config) };
  },
  dynamicOf: ({ routes, upstreams }) => ({ routes, upstreams }),
  withDynamic: (config, dynamic) => ({ ...config, ...dynamic }),
  httpListeners: () => 1,
  create: (config, dataPlane) => Gateway.create(config, dataPlane),
});
