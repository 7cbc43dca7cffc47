import { inventory } from './inventory/inventory.js';
import { issuer } from './issuer/issuer.js';
import { orders } from './orders/orders.js';
import { payments } from './payments/payments.js';
import { provider } from './provider/provider.js';
import { demoService, serve } from './service.js';
import { users } from './users/users.js';

/* Starts one service of the demo shop: `node main.js NAME`, addresses from the environment. */

const services = { inventory, issuer, orders, payments, provider, users };

const name = process.argv[2] ?? '';
if (!Object.hasOwn(services, name)) {
  process.stderr.write(`there is no service ${JSON.stringify(name)}; there is ${Object.keys(services).join(', ')}\n`);
  process.exit(64);
}
const routes = await services[name as keyof typeof services](process.env);
await serve(demoService(name, routes), process.env);
