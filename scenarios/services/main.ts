import { inventory } from './inventory/inventory.js';
import { serveGrpc } from './grpc-service.js';
import { issuer } from './issuer/issuer.js';
import { orders } from './orders/orders.js';
import { payments } from './payments/payments.js';
import { pricing } from './pricing/pricing.js';
import { provider } from './provider/provider.js';
import { startTwin } from './sessions/redis-twin.js';
import { demoService, serve } from './service.js';
import { users } from './users/users.js';

/* Starts one service of the demo shop: `node main.js NAME`, addresses from the environment. */

const http = { inventory, issuer, orders, payments, provider, users };
const others = { pricing: () => serveGrpc('pricing', pricing(process.env), process.env), 'redis-twin': () => startTwin(process.env) };

const name = process.argv[2] ?? '';
if (Object.hasOwn(http, name)) {
  await serve(demoService(name, await http[name as keyof typeof http](process.env)), process.env);
} else if (Object.hasOwn(others, name)) {
  await others[name as keyof typeof others]();
} else {
  process.stderr.write(`there is no service ${JSON.stringify(name)}; there is ${[...Object.keys(http), ...Object.keys(others)].join(', ')}\n`);
  process.exit(64);
}
