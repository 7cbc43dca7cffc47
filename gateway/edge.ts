import type { z } from 'zod';
import { forwarded } from './forwarded.js';
import type { edgeSchema } from './config.js';
import { listenerStack } from './stack.js';
import type { Service } from '../shared/http/service.js';
import { viaOnce } from '../shared/intermediary/via-once.js';
import { networkList } from '../shared/listener/network-list.js';
import { overload } from '../shared/policy/overload/overload.js';
import type { DataPlane } from '../shared/process/data-plane.js';
import { tracing } from '../shared/telemetry/tracing.js';

type EdgeConfig = Omit<z.output<typeof edgeSchema>, 'limits'> & { readonly limits: { readonly maxInFlight: number } };

/** What stands at the edge in front of the routes, for requests and for what never became one. */
export function edgeServices(config: EdgeConfig, dataPlane: DataPlane, route: Service): { service: Service; refuse: Service } {
  const layers = {
    ...dataPlane.layers('edge'),
    forwarded: forwarded({ trusted: networkList(config.trustedProxies), clientAddressFrom: config.clientAddressFrom, standardField: config.forwardedField }),
    // An application behind it may be a proxy, and send a request on through us with all its fields.
    via: viaOnce(config.via, { instance: dataPlane.instance, maxEarlier: 3 }),
    tracing: tracing({ trustRequestId: false }),
    overload: overload(config.limits.maxInFlight),
  };
  return { service: listenerStack(layers, route), refuse: listenerStack(layers, (request) => Promise.reject(request.cancellation.reason)) };
}
