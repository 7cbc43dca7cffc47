import type { FastifyInstance } from 'fastify';
import { demoService, serve } from './service.js';

/* Starts one service of the demo shop: `node main.js NAME`, addresses from the environment. Twenty of them start together, and each loads its own. */

type Routes = (app: FastifyInstance) => void;

const http: Readonly<Record<string, (environment: NodeJS.ProcessEnv) => Promise<Routes>>> = {
  inventory: async (environment) => (await import('./inventory/inventory.js')).inventory(environment),
  issuer: async (environment) => (await import('./issuer/issuer.js')).issuer(environment),
  orders: async (environment) => (await import('./orders/orders.js')).orders(environment),
  payments: async (environment) => (await import('./payments/payments.js')).payments(environment),
  provider: async (environment) => (await import('./provider/provider.js')).provider(environment),
  users: async (environment) => (await import('./users/users.js')).users(environment),
};
const others: Readonly<Record<string, (environment: NodeJS.ProcessEnv) => Promise<void>>> = {
  pricing: async (environment) => {
    const [{ serveGrpc }, { pricing }] = await Promise.all([import('./grpc-service.js'), import('./pricing/pricing.js')]);
    await serveGrpc('pricing', pricing(environment), environment);
  },
  'redis-twin': async (environment) => (await import('./sessions/redis-twin.js')).startTwin(environment),
};

const name = process.argv[2] ?? '';
if (Object.hasOwn(http, name)) {
  await serve(demoService(name, await http[name]!(process.env)), process.env);
} else if (Object.hasOwn(others, name)) {
  await others[name]!(process.env);
} else {
  process.stderr.write(`there is no service ${JSON.stringify(name)}; there is ${[...Object.keys(http), ...Object.keys(others)].join(', ')}\n`);
  process.exit(64);
}
