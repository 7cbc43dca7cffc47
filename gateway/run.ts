import { gatewayDynamicSchema, gatewaySchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { Gateway } from './gateway.js';
import { parseConfig } from '../shared/config/load.js';
import { runProxy } from '../shared/process/run-proxy.js';

await runProxy({
  kind: 'gateway',
  description: 'The ambassador: the proxy at the edge of the system.',
  schema: gatewaySchema,
  crossCheck,
  parseSnapshot: (document, config) => parseConfig(document, gatewayDynamicSchema, (snapshot) => crossCheck(snapshot, config)),
  dynamicOf: ({ routes, upstreams }) => ({ routes, upstreams }),
  withDynamic: (config, dynamic) => ({ ...config, ...dynamic }),
  httpListeners: () => 1,
  create: (config, dataPlane) => Gateway.create(config, dataPlane),
});
