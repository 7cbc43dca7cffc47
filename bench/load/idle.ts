import { open, readyEvent, requestsFor, target } from './target.js';

/* Opens connections, sends one request on each, and holds them idle until it is killed. Prints when all are answered. */

let answered = 0;
let opened = 0;
const next = (): void => {
  if (opened >= target.connections) return;
  const index = opened++;
  const socket = open();
  socket.on('error', () => process.exit(1));
  socket.once(readyEvent, () => socket.write(requestsFor(index)(), 'latin1'));
  socket.once('data', () => {
    if (++answered === target.connections) process.stdout.write('idle\n');
    next();
  });
};
for (let lane = 0; lane < 64; lane++) next();
